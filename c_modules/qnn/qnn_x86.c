// x86-64 with AVX2, where the processor that this runs on has it: eight channels of a position at a time.

#include "qnn_x86.h"

#if QNN_X86

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define LANES (8)

int qnn_x86_can(const qnn_scale_t *s, uint32_t channels) {
    if (!__builtin_cpu_supports("avx2")) {
        return 0;
    }
    uint32_t n = s->step ? channels : 1;
    for (uint32_t i = 0; i < n; i++) {
        if (s->shift[i] > 0) {
            return 0;
        }
    }
    return 1;
}

// Eight sums, as qnn_requantise() without shifts to the left.
AVX2 static inline __m256i requantise(const qnn_scale_t *s, uint32_t channel, __m256i acc) {
    __m256i multiplier, shift, one = _mm256_set1_epi32(1);
    acc = _mm256_add_epi32(acc, _mm256_loadu_si256((const __m256i *)(s->bias + channel)));
    if (s->step) {
        multiplier = _mm256_loadu_si256((const __m256i *)(s->multiplier + channel));
        shift = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(s->shift + channel)));
    } else {
        multiplier = _mm256_set1_epi32(s->multiplier[0]);
        shift = _mm256_set1_epi32(s->shift[0]);
    }
    shift = _mm256_sub_epi32(_mm256_setzero_si256(), shift);
    __m256i half = _mm256_set1_epi64x(1 << 30);
    __m256i even = _mm256_add_epi64(_mm256_mul_epi32(acc, multiplier), half);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), _mm256_srli_epi64(multiplier, 32));
    odd = _mm256_add_epi64(odd, half);
    even = _mm256_srli_epi64(even, 31);
    odd = _mm256_slli_epi64(odd, 1);
    __m256i v = _mm256_blend_epi32(even, odd, 0xaa);
    // What is shifted out, and half of what it could be, one more for negative numbers.
    __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, shift), one);
    __m256i threshold = _mm256_sub_epi32(_mm256_srli_epi32(mask, 1), _mm256_srai_epi32(v, 31));
    __m256i up = _mm256_cmpgt_epi32(_mm256_and_si256(v, mask), threshold);
    v = _mm256_sub_epi32(_mm256_srav_epi32(v, shift), up);
    v = _mm256_add_epi32(v, _mm256_set1_epi32(s->zero));
    v = _mm256_max_epi32(v, _mm256_set1_epi32(s->min));
    return _mm256_min_epi32(v, _mm256_set1_epi32(s->max));
}

AVX2 static inline void store(int8_t *y, __m256i v) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)y, _mm_packs_epi16(words, words));
}

// Sums of the lanes of eight vectors.
AVX2 static inline __m256i add_up(const __m256i *a) {
    __m256i s0 = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
    __m256i s1 = _mm256_hadd_epi32(_mm256_hadd_epi32(a[4], a[5]), _mm256_hadd_epi32(a[6], a[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(s0, s1, 0x20), _mm256_permute2x128_si256(s0, s1, 0x31));
}

#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)

// Channels channel..channel + 7. Weights up to `end` may be read.
AVX2 static void eight(const qnn_dense_t *d, const int8_t *x, uint32_t channel, int8_t *y) {
    uint32_t row = qnn_row(d), depth = d->depth, i = 0;
    const int8_t *w = d->weights + (size_t)channel * row;
    __m256i a[LANES];
#define START(k) a[k] = _mm256_setzero_si256();
    EACH(START)
#define ADD(k) \
    a[k] = _mm256_add_epi32(a[k], \
        _mm256_madd_epi16(v, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + k * (size_t)row + i)))));
    for (; i + 16 <= depth; i += 16) {
        __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(x + i)));
        EACH(ADD)
    }
    if (i < depth) {
        uint32_t left = depth - i;
        int8_t rest[16] = {0}, weights[LANES][16];
        memcpy(rest, x + i, left);
        __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)rest));
        if ((size_t)(d->channels - channel - LANES) * row + left >= 16) {
            // What is read beyond is multiplied by 0, and within the weights.
            EACH(ADD)
        } else {
            for (int k = 0; k < LANES; k++) {
                memset(weights[k], 0, 16);
                memcpy(weights[k], w + k * (size_t)row + i, left);
                __m128i u = _mm_loadu_si128((const __m128i *)weights[k]);
                a[k] = _mm256_add_epi32(a[k], _mm256_madd_epi16(v, _mm256_cvtepi8_epi16(u)));
            }
        }
    }
    store(y + channel, requantise(&d->scale, channel, add_up(a)));
}

uint32_t qnn_x86_channels(const qnn_dense_t *d, const int8_t *x, int8_t *y, uint32_t from, uint32_t to) {
    for (; to - from >= LANES; from += LANES) {
        eight(d, x, from, y);
    }
    return from;
}

// Two taps of 16 channels: their products, in the order of unpacking.
AVX2 static inline void taps(__m256i x0, __m256i x1, const int8_t *w0, const int8_t *w1, __m256i *low, __m256i *high) {
    __m256i v0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w0));
    __m256i v1 = w1 ? _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w1)) : _mm256_setzero_si256();
    __m256i l = _mm256_madd_epi16(_mm256_unpacklo_epi16(x0, x1), _mm256_unpacklo_epi16(v0, v1));
    __m256i h = _mm256_madd_epi16(_mm256_unpackhi_epi16(x0, x1), _mm256_unpackhi_epi16(v0, v1));
    *low = _mm256_add_epi32(*low, l);
    *high = _mm256_add_epi32(*high, h);
}

AVX2 void qnn_x86_depthwise(const qnn_conv_t *c, const qnn_window_t *at, uint32_t channel, int8_t *y) {
    __m256i zero = _mm256_set1_epi16((int16_t)c->dense.x_zero), held = zero;
    __m256i low = _mm256_setzero_si256(), high = low;
    const int8_t *w = c->dense.weights + channel, *held_w = NULL;
    for (uint32_t ky = 0; ky < c->kernel_h; ky++) {
        const int8_t *line = at->x + channel + (int64_t)ky * at->down;
        for (uint32_t kx = 0; kx < c->kernel_w; kx++, w += c->out_c) {
            __m256i v = zero;
            if (ky >= at->y0 && ky < at->y1 && kx >= at->x0 && kx < at->x1) {
                v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(line + (int64_t)kx * at->right)));
            }
            if (held_w == NULL) {
                held = v;
                held_w = w;
            } else {
                taps(held, v, held_w, w, &low, &high);
                held_w = NULL;
            }
        }
    }
    if (held_w != NULL) {
        taps(held, zero, held_w, NULL, &low, &high);
    }
    const qnn_scale_t *s = &c->dense.scale;
    store(y, requantise(s, channel, _mm256_permute2x128_si256(low, high, 0x20)));
    store(y + 8, requantise(s, channel + 8, _mm256_permute2x128_si256(low, high, 0x31)));
}

#endif // QNN_X86
