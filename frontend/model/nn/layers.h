/* Inside this room only: the pieces of a model as graph nodes. */
#ifndef DART_NN_LAYERS_H
#define DART_NN_LAYERS_H

#include "model.h"

enum { DART_PARAM_ALIGN = 64 }; /* words: where a parameter may begin */

typedef struct dart_build { /* one model being built into one graph */
    const dart_model *model;
    dart_graph *graph;
    const dart_model_leaves *leaves;
    bool training;
    uint32_t batch, time;
    dart_node embedding; /* dense table (padded vocabulary, d_model), made on first use */
    dart_node *inputs;   /* NULL, or what each weight multiplies */
    dart_node *outputs;  /* NULL, or what comes of it, before the bias */
} dart_build;

/* The dense table of the token embedding; the same node every time. */
dart_node dart_build_table(dart_build *b);
/* The dense matrix of any weight (padded out, in). */
dart_node dart_build_dense(const dart_build *b, int weight);
/* Embedding and all blocks: (B,T,C), before the final norm. */
dart_node dart_build_body(dart_build *b);
/* The same of an encoder-decoder: seq2seq.c. */
dart_node dart_build_seq2seq(dart_build *b);

/* Last norm and head over rows x (rows, C): logits (rows, padded vocabulary). */
dart_node dart_build_logits(dart_build *b, dart_node x);

/* norm with params w, bias (bias -1 for RMSNorm; w -1: x itself). */
dart_node dart_build_norm(const dart_build *b, dart_node x, int w, int bias);
/* What a sub-layer reads from the residual stream x, and the stream after it gave y: with a norm
 * before the one, or after the other. */
dart_node dart_build_enter(const dart_build *b, dart_node x, int w, int bias);
dart_node dart_build_leave(const dart_build *b, dart_node x, dart_node y, int w, int bias);
/* x W^T + bias (bias -1: none). */
dart_node dart_build_linear(const dart_build *b, dart_node x, int weight, int bias);
/* Nothing unless training; sites are numbered through the whole model. */
dart_node dart_build_dropout(const dart_build *b, dart_node x, uint32_t site);
/* A projection (batch, time, heads * size) as (batch, time, heads, size). */
dart_node dart_build_heads(
    const dart_build *b, dart_node x, uint32_t batch, uint32_t time, uint32_t heads);
/* Queries (batch, time, heads, size) against keys (batch, S, kv_heads, size), and their mix of
 * values: (batch, time, C). lengths: i32 (batch), how many keys are real, or 0: all. */
dart_node dart_build_mix(const dart_build *b, dart_node q, dart_node k, dart_node v, uint32_t batch,
    uint32_t time, dart_node lengths, bool causal);
/* Self-attention of x (batch, time, C) with its projections. */
dart_node dart_build_attention(const dart_build *b, dart_node x, const dart_model_attention *attn,
    uint32_t time, dart_node lengths, bool causal);
/* x + up relu(down x); x itself where the model has no adapters. */
dart_node dart_build_adapter(const dart_build *b, dart_node x, const dart_model_adapter *adapter);
dart_node dart_build_mlp(const dart_build *b, dart_node x, const dart_model_block *block);

/* checks.c: INPUT where there is no such model. */
DART_NODISCARD dart_status dart_model_check(const dart_model_config *config);
/* roles.c: the role that decides a weight of this name; NULL: none. */
const dart_role *dart_model_role(const dart_model_config *config, const char *name);
/* INPUT: a pattern that is none, too many. */
DART_NODISCARD dart_status dart_roles_check(const dart_model_config *config);
/* INPUT: a role that is needed and decides no weight of the model, with names that are near. */
DART_NODISCARD dart_status dart_roles_decide(const dart_model *model);

/* The longest sequence of either side: rows of the tables of positions. */
uint32_t dart_model_longest(const dart_model_config *config);
/* Shape of core k of a weight's chain as (r, n, r'), whatever axes its digits have. */
dart_shape dart_model_core(const dart_model_weight *w, uint32_t k);
/* Two weights whose tensors can be stacked: all shapes equal but for the ranks of their chains, and
 * the largest of those not apart by more than a factor of two. */
bool dart_model_same_form(const dart_model_weight *a, const dart_model_weight *b);

/* shared.c: the name of a weight's tensor, and which parameter it is where an earlier weight has
 * made it; else UINT32_MAX. INPUT: that one has another shape. */
DART_NODISCARD dart_status dart_param_shared(const dart_model *model, const dart_model_weight *w,
    const dart_tensor *tensor, char name[sizeof(dart_param){0}.name], uint32_t *out);

#endif
