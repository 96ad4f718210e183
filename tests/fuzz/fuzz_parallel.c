/* Two texts, cut at the first byte 1: a parallel corpus and one batch of it. */
#include "fuzz.h"
#include "parallel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 1, size) : NULL;
    const size_t first = cut ? (size_t)(cut - data) : size;
    dart_parallel corpus = {0};
    dart_pairs pairs = {0};
    dart_parallel_options options = {.dataset = "",
        .source = fuzz_file("source.txt", data, first),
        .target = fuzz_file("target.txt", cut ? cut + 1 : data, cut ? size - first - 1 : 0),
        .shared = size & 1,
        .lowercase = size & 2,
        .min_count = 1};
    if (fuzz_read(dart_parallel_open(&options, &corpus)) &&
        fuzz_read(dart_pairs_new(&corpus, DART_TRAIN, true, 2, 5, 6, 1, &pairs)))
        for (uint64_t at = 0; at < 3; at++) {
            const dart_pair_batch *batch = dart_pairs_train(&pairs, at);
            for (uint32_t i = 0; i < batch->batch * batch->source_time; i++)
                fuzz_need(batch->source[i] >= 0 && (uint32_t)batch->source[i] < pairs.vocab[0],
                    "an id outside the vocabulary");
        }
    dart_pairs_free(&pairs);
    dart_parallel_free(&corpus);
    return 0;
}
