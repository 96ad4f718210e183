/* How well texts were labelled. */
#ifndef DART_CLASSES_SCORE_H
#define DART_CLASSES_SCORE_H

#include "dart.h"

/* confusion: (labels, labels), how many texts of label i were taken for one of label j. A figure
 * whose denominator is 0 is 0, as scikit-learn has it. */
void dart_classes_score(const uint64_t *confusion, uint32_t labels, dart_class_scores *out);

#endif
