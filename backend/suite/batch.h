/* The state of a run of the suite: cases wait side by side in one arena until their batch is run.
 */
#ifndef DART_SUITE_BATCH_H
#define DART_SUITE_BATCH_H

#include "cases.h"

enum { ARENA = 1 << 21, CASES = 192, TENSORS = 4 * CASES, NORMALS = 65521 };

typedef struct tensor {
    uint64_t start, words;
    bool integer;          /* words are i32 or plain bits, f32 otherwise */
    uint32_t halves;       /* ... or two numbers of 16 bits of this kind (halves.h); 0: none */
    uint64_t every, first; /* compared: the first `first` of every `every` words */
} tensor;

typedef struct test_case {
    char name[112];
    dart_launch launch, oracle_launch;
    double tolerance;
    uint32_t tensor[DART_MAX_BUFS]; /* index into suite.tensors */
    uint32_t tensors;
    uint64_t arena_end;
} test_case;

struct suite {
    dart_device *device, *oracle;
    const dart_suite_options *options;
    dart_suite_result *result;
    dart_status status; /* the first error; nothing more is run after it */
    dart_buffer arena[2], oracle_arena;
    uint32_t *before, *after; /* the device's arena, bit by bit */
    uint64_t *oracle_words;   /* doubles or int64 */
    float *normals;
    test_case cases[CASES];
    uint32_t count;
    tensor tensors[TENSORS];
    uint32_t tensor_count;
    uint64_t used; /* words of the arena */
    dart_launch list[CASES];
    uint64_t numbered; /* cases so far; seeds their inputs */
    uint32_t batches;
    uint64_t draws;
};

/* Runs the waiting cases on the device and on the oracle, judges them, and empties the arena; after
 * an error it only empties it. */
void dart_suite_batch_run(suite *s);

#endif
