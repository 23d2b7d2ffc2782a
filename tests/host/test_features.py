"""Spectra and mel bands in whole numbers, beside numpy's in floats."""

import numpy as np
import pytest
import soak

from mcp_gw.infer.features import LogMel, Spectrum, log2


def exact(samples):
    """Power spectrum of Hann-windowed samples, in float64."""
    n = len(samples)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    mean = np.round(np.mean(samples))
    return np.abs(np.fft.rfft((np.asarray(samples, float) - mean) * window)) ** 2


def signals(rng, n):
    """Tones, noise, steps, impulses, of all sizes a sensor may give."""
    size = 2.0 ** rng.uniform(3, 22)
    t = np.arange(n)
    yield size * np.sin(2 * np.pi * rng.uniform(0, 0.5) * t + rng.uniform(0, 6))
    yield size * rng.standard_normal(n)
    yield size * (t > n * rng.uniform(0.1, 0.9)) + 1000
    yield size * (t == rng.integers(n))
    yield size * np.sin(0.3 * t) + size / 20 * rng.standard_normal(n) - 30000


@pytest.mark.parametrize("n", [8, 64, 256, 1024])
def test_power(n, seed):
    """Within 5 % of each bin; bins far below the strongest within 1/2000 of that."""
    rng = np.random.default_rng(seed)
    spectrum = Spectrum(n)
    worst = 0.0
    for _ in range(soak.count(4, 200)):
        for x in signals(rng, n):
            samples = np.round(x).astype(int).tolist()
            due = exact(samples)
            got = np.array(spectrum.of(samples), float) * 4.0 ** (spectrum.exponent + 1)
            error = np.abs(got - due) / (due + due.max() * 1e-2 + 1e-9)
            worst = max(worst, error.max())
    print(f"{n} samples: at most {worst:.4f} off")
    assert worst < 0.05


def test_log2():
    values = np.unique(np.round(2.0 ** np.linspace(0, 40, 3000)).astype(int))
    for v in values:
        assert -3.5 < log2(int(v)) - 256 * np.log2(v) < 3.5, v


def test_mel_bands(seed):
    """Every band is the energy under its triangle; energies 2**10 below the strongest are lost."""
    rng = np.random.default_rng(seed)
    n, rate, bands = 256, 16000, 20
    mel = LogMel(n, rate, bands, low=50)
    edges = 700 * (
        10 ** (np.linspace(*(2595 * np.log10(1 + np.array([50, 8000]) / 700)), bands + 2) / 2595)
        - 1
    )
    edges = np.floor(edges * n * 16 / rate + 0.5) / 16
    k = np.arange(n // 2 + 1)
    for x in signals(rng, n):
        samples = np.round(x).astype(int).tolist()
        due = exact(samples)
        got = mel.of(samples)
        for band in range(bands):
            low, middle, high = edges[band : band + 3]
            rising, falling = (k - low) / (middle - low), (high - k) / (high - middle)
            weight = np.clip(np.minimum(rising, falling), 0, None)
            energy = float((due * weight).sum())
            if not weight.any():
                energy = due[int(middle + 0.5)]
            if energy > due.max() / 100 and energy > 1000:
                assert abs(got[band] - 256 * np.log2(energy)) < 40, (band, energy)


def test_wrong_sizes():
    for n in (4, 100, 8192):
        with pytest.raises(ValueError, match="power of 2"):
            Spectrum(n)
    with pytest.raises(ValueError, match="7 samples"):
        Spectrum(8).of([0] * 7)
    for low, high in ((-1, None), (0, 9000), (5000, 4000)):
        with pytest.raises(ValueError, match="half the rate"):
            LogMel(256, 16000, 10, low=low, high=high)
