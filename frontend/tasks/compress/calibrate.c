/* What inputs of weights, and gradients by their outputs, are like: second moments over a text. */
#include "compress.h"
#include "setup.h"
#include <inttypes.h>
#include <stdlib.h>

dart_status dart_compress_calibrate(const dart_bundle *from, const dart_compress_options *options,
    const dart_compress_fate *fate, bool gradients, dart_note note, dart_covariances *out)
{
    dart_settings set = from->set;
    dart_corpus corpus = {0};
    dart_stream stream = {0};
    dart_device *device = NULL;
    const uint64_t tokens = options->calibrate_tokens ? options->calibrate_tokens : 16384;
    bool *wanted = dart_calloc(from->model->weights, sizeof *wanted);
    dart_status status = wanted ? DART_OK : DART_MEMORY;
    *out = (dart_covariances){0};
    if (status != DART_OK) goto done;
    for (uint32_t w = 0; w < from->model->weights; w++) wanted[w] = fate[w] == DART_FATE_NETWORK;
    set.dataset = set.examples = "";
    set.text = options->calibrate;
    DART_GOTO(dart_corpus_for(&set, from->stored, &corpus));
    DART_GOTO(dart_stream_for(&set, &corpus, DART_TRAIN, &stream));
    const uint64_t row = (uint64_t)stream.batch * stream.time, most = stream.windows / stream.batch;
    uint64_t batches = (tokens + row - 1) / row;
    if (!most) {
        status = dart_fail(DART_INPUT,
            "%s has %" PRIu64 " tokens in its training part, fewer than a batch of %u windows of "
            "%u; give a longer text, or a smaller --batch-size or --context",
            options->calibrate, corpus.count[DART_TRAIN], stream.batch, stream.time);
        goto done;
    }
    if (batches > most)
        dart_note_line(note,
            "%s has only %" PRIu64 " tokens to calibrate with, %" PRIu64 " were asked for",
            options->calibrate, most * row, tokens);
    if (batches > most) batches = most;
    DART_GOTO(dart_device_for(&set, &device));
    const uint32_t rows = dart_chunk_rows(&set, stream.batch, from->model->config.vocab);
    status = dart_model_covariances(device, from->model, from->param, from->frozen, &stream,
        batches, wanted, gradients ? rows : 0, out);
done:
    free(wanted);
    dart_device_close(device);
    dart_stream_free(&stream);
    dart_corpus_free(&corpus);
    return status;
}
