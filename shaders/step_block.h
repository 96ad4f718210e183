/* Words of the step block for the host: DART_ISCAL_STEP, DART_FSCAL_RATE, DART_METRIC_LOSS ... */
#ifndef DART_STEP_BLOCK_H
#define DART_STEP_BLOCK_H

enum {
#define ISCAL(name, word) DART_ISCAL_##name = word,
#define FSCAL(name, word) DART_FSCAL_##name = word,
#define METRIC(name, word) DART_METRIC_##name = word,
#include "step_block.def"
#undef ISCAL
#undef FSCAL
#undef METRIC
};

#endif
