/* How tokenizer.ggml.pre of GGUF files cuts texts, as the tokenizers that these names stand for do
 * it; both ways. */
#include "gguf_pre.h"

#define BYTES(regex)                                                                               \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_"              \
    "regex\":" regex "}"
#define ISOLATED(pattern)                                                                          \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern                                        \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define SEQUENCE(first, second) "{\"type\":\"Sequence\",\"pretokenizers\":[" first "," second "]}"
#define PATTERN(digits)                                                                            \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits         \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define RULES(normalizer, pre)                                                                     \
    "{\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre ",\"decoder\":" BYTES("true") "}"

const dart_gguf_pre dart_gguf_pres[DART_GGUF_PRES] = {
    {"gpt-2", "phi-2", RULES("null", BYTES("true")), false, false},
    {"smollm", "",
        RULES("null", SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}", BYTES("true"))),
        false, false},
    {"llama-bpe", "llama3", RULES("null", SEQUENCE(ISOLATED(PATTERN("{1,3}")), BYTES("false"))),
        true, true},
    {"qwen2", "deepseek-r1-qwen",
        RULES("{\"type\":\"NFC\"}", SEQUENCE(ISOLATED(PATTERN("")), BYTES("false"))), false, false},
};
