/* Scores that a classifier gives to texts, for comparison with other programs:
 *   dump_scores [--adapter LIST] MODEL DEVICE DATA.jsonl [CONTEXT]
 * writes a line of JSON for each line of the data: {"ids": [..], "types": [..], "label": n,
 * "scores": [..]}. */
#include "bundle.h"
#include "setup.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void list(const char *key, const int32_t *of, uint32_t count)
{
    printf("\"%s\": [", key);
    for (uint32_t i = 0; i < count; i++) printf("%s%d", i ? ", " : "", (int)of[i]);
    printf("], ");
}

static void print_row(const dart_batch *batch, const float *score, uint32_t labels, uint32_t b)
{
    const size_t at = (size_t)b * batch->time;
    if (batch->labels[b] < 0) return;
    printf("{");
    list("ids", batch->tokens + at, (uint32_t)batch->lengths[b]);
    list("types", batch->types + at, (uint32_t)batch->lengths[b]);
    printf("\"label\": %d, \"scores\": [", (int)batch->labels[b]);
    for (uint32_t i = 0; i < labels; i++)
        printf("%s%.9g", i ? ", " : "", (double)score[(size_t)b * labels + i]);
    printf("]}\n");
}

static dart_status dump(int argc, char **argv, dart_recipe *recipe)
{
    dart_bundle bundle;
    dart_corpus corpus = {0};
    dart_device *device = NULL;
    dart_session *session = NULL;
    dart_session_options options;
    dart_stream stream = {0};
    double nll;
    uint64_t texts;
    const char *const given[][2] = {{"device", argv[2]}, {"examples", argv[3]},
        {"valid_examples", argv[3]}, {"batch_size", "1"}, {"context", argc > 4 ? argv[4] : NULL}};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i][1]) DART_TRY(dart_recipe_set(recipe, given[i][0], given[i][1]));
    dart_status status = dart_bundle_open(argv[1], recipe, (dart_note){0}, &bundle);
    DART_GOTO(status);
    DART_GOTO(dart_corpus_for(&bundle.set, bundle.stored, &corpus));
    DART_GOTO(dart_device_for(&bundle.set, &device));
    DART_GOTO(dart_session_options_from(&bundle.set, bundle.vocab->size, &options));
    options.train = false;
    options.reg = NULL;
    DART_GOTO(dart_session_new(device, NULL, bundle.model, &options, &session));
    DART_GOTO(dart_session_write(session, bundle.param, bundle.frozen, NULL));
    /* one text after the other: the session keeps the scores of its last batch */
    dart_labelled all = corpus.labelled[DART_VALID];
    for (uint64_t i = 0; i < all.count; i++) {
        dart_labelled *one = &corpus.labelled[DART_VALID];
        *one = (dart_labelled){.count = 1,
            .first = all.first + i,
            .ids = all.ids,
            .types = all.types,
            .label = all.label + i};
        status = dart_stream_for(&bundle.set, &corpus, DART_VALID, &stream);
        if (status == DART_OK) status = dart_session_eval(session, &stream, &nll, &texts);
        if (status == DART_OK)
            print_row(&stream.data, session->scores, bundle.model->config.labels, 0);
        dart_stream_free(&stream);
        *one = all;
        if (status != DART_OK) goto done;
    }
done:
    dart_session_free(session);
    dart_device_close(device);
    dart_corpus_free(&corpus);
    dart_bundle_free(&bundle);
    return status;
}

int main(int argc, char **argv)
{
    dart_recipe *recipe;
    const char *adapter = NULL;
    if (argc > 2 && !strcmp(argv[1], "--adapter")) {
        adapter = argv[2];
        argv += 2;
        argc -= 2;
    }
    if (argc < 4) {
        fprintf(stderr, "usage: dump_scores [--adapter LIST] MODEL DEVICE DATA.jsonl [CONTEXT]\n");
        return 2;
    }
    dart_status status = dart_recipe_new(&recipe);
    if (status == DART_OK && adapter) status = dart_recipe_set(recipe, "adapter", adapter);
    if (status == DART_OK) status = dump(argc, argv, recipe);
    if (status != DART_OK) fprintf(stderr, "%s\n", dart_error_text());
    dart_recipe_free(recipe);
    return status != DART_OK || fflush(stdout) != 0;
}
