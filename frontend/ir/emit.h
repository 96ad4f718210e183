/* What lowering rules emit with: values (words of a region or of the arena) and launches. Private
 * to frontend/ir. */
#ifndef DART_EMIT_H
#define DART_EMIT_H

#include "planner.h"

/* A part of the arena for `words` words that the node `label` makes. */
DART_NODISCARD dart_status dart_emit_new(
    dart_lowering *low, dart_node label, uint64_t words, dart_value *out);
/* One launch with the kernel's default constants; NULL: out of memory. */
dart_launch *dart_emit(dart_lowering *low, dart_kernel kernel, dart_node label, uint32_t bufs,
    const dart_value *values, const void *params);
/* The same, with a status. */
DART_NODISCARD dart_status dart_emit_launch(dart_lowering *low, dart_kernel kernel, dart_node label,
    uint32_t bufs, const dart_value *values, const void *params);
/* With a MODE constant of the kernel: slot is its name (kernels.h), DART_REDUCE_OP for example. */
DART_NODISCARD dart_status dart_emit_mode(dart_lowering *low, dart_kernel kernel, dart_node label,
    uint32_t slot, uint32_t mode, uint32_t bufs, const dart_value *values, const void *params);

/* Sets low->value[node], the words that the node makes: where the folds want them, else new ones.
 */
DART_NODISCARD dart_status dart_value_output(dart_lowering *low, dart_node node);
/* Words that a part of a join takes; zeros into a join whose parts leave gaps, before they are
 * made.
 */
uint64_t dart_join_words(const dart_shape *shape);
DART_NODISCARD dart_status dart_emit_gaps(dart_lowering *low, dart_node join, dart_value all);
/* Where a join's words lie, also before its parts are made. */
DART_NODISCARD dart_status dart_value_of_join(dart_lowering *low, dart_node join, dart_value *out);
/* True if the node is the last reader of `operand`'s words and takes them over. */
bool dart_value_reuse(dart_lowering *low, dart_node node, dart_node operand);
/* Takes over `operand`'s words if it can (operand 0: none), else as dart_value_output. */
DART_NODISCARD dart_status dart_value_over(dart_lowering *low, dart_node node, dart_node operand);

enum { DART_WALK_AXES = 6 }; /* that one permute launch takes */
/* Axes of y, outermost first, with the step of each in x; neighbours that step evenly are one axis.
 */
typedef struct dart_walk {
    uint32_t axes, dim[DART_MAX_LABELS];
    uint64_t step[DART_MAX_LABELS];
} dart_walk;

/* From `from`, which may lack labels (they are repeated: step 0), to `to`. */
dart_walk dart_walk_labels(const uint32_t *dim, const dart_labels *from, const dart_labels *to);
/* y, contiguous, from x[offset ...]; at most DART_WALK_AXES axes. */
DART_NODISCARD dart_status dart_emit_walk(dart_lowering *low, dart_node label, const dart_walk *w,
    dart_value x, uint32_t offset, dart_value y);
/* y, contiguous in the label order `to`, from x, contiguous in the order `from`. */
DART_NODISCARD dart_status dart_emit_permute(dart_lowering *low, dart_node label,
    const uint32_t *dim, const dart_labels *from, dart_value x, const dart_labels *to,
    dart_value y);
/* y = x[offset ...], and y[i] = x[i * step]. */
DART_NODISCARD dart_status dart_emit_copy(
    dart_lowering *low, dart_node label, dart_value x, uint32_t offset, dart_value y);
DART_NODISCARD dart_status dart_emit_spread(
    dart_lowering *low, dart_node label, uint32_t count, uint32_t step, dart_value x, dart_value y);
/* y (rows, columns): rows [first, first + rows) of the packed matrix `w`, or those that the i32
 * words `ids` name. */
DART_NODISCARD dart_status dart_emit_unpack(dart_lowering *low, dart_node label, dart_node w,
    uint32_t first, uint32_t rows, const dart_value *ids, dart_value y);
/* y (outer, inner) = reduction `op` (reduce.k) of x (outer, mid, inner) over mid. */
DART_NODISCARD dart_status dart_emit_reduce(dart_lowering *low, dart_node node, uint32_t op,
    dart_value x, uint64_t outer, uint64_t mid, uint64_t inner, dart_value y);

#endif
