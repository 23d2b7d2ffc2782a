"""llama.cpp's own server, OpenAI-compatible, with a tiny random model; and the files of one.

llama_server.py MODEL.gguf [KEY]    prints its address, runs until it is killed
"""

import sys
import time

WORDS = ("\u2581", "a", "b", "ab", "\u2581a", "\u2581b", "the", "\u2581the")


def write_model(path):
    """A GGUF file of random weights, with a vocabulary of bytes and a few words."""
    import gguf
    import llama_models

    words = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *WORDS]
    kind = gguf.TokenType

    def vocabulary(w):
        w.add_tokenizer_model("llama")
        w.add_token_list(words)
        w.add_token_scores([-float(i) for i in range(len(words))])
        w.add_token_types(
            [kind.UNKNOWN, kind.CONTROL, kind.CONTROL]
            + [kind.BYTE] * 256
            + [kind.NORMAL] * len(WORDS)
        )
        w.add_unk_token_id(0)

    spec = llama_models.spec("grouped", 3, 1.0, vocab=len(words))
    spec.positions = 512
    return llama_models.gguf_file(path, spec, "F32", vocabulary)


def main(model, *keys):
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = model
    options.n_ctx = 512
    options.n_parallel = 1
    options.cpuparams.n_threads = 1
    options.warmup = False
    options.verbosity = 0
    options.port = 0
    options.api_keys = list(keys)
    server = xllamacpp.Server(options)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
