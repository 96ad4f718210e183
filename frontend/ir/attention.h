/* The op attention inside frontend/ir: where its tensors lie, and what it is as other ops. */
#ifndef DART_ATTENTION_H
#define DART_ATTENTION_H

#include "ir.h"

enum { DART_ATTENTION_ALIGN = 64 }; /* words, as slices want them at most (256 bytes) */

/* Of q (batch, time, heads, dim) and k, v (batch, span, kv, dim). at[i]: where q (0), k, v and what
 * comes behind them begin when they lie together; queries = batch * time * heads. */
typedef struct dart_attention_sizes {
    uint32_t batch, time, heads, dim, span, kv;
    uint64_t queries, at[4];
} dart_attention_sizes;
/* info: an attention or attention_dx. */
dart_attention_sizes dart_attention_sizes_of(const dart_graph *graph, const dart_node_info *info);

/* Part `part` of an attention or attention_dx, whose inputs are nodes of `graph`, as products and a
 * softmax: scores are kept. */
dart_node dart_attention_written(dart_graph *graph, const dart_node_info *info, int64_t part);

#endif
