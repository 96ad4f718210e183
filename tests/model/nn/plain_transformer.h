/* The sub-layers of a transformer in plain C, one sentence at a time: everything is materialised.
 */
#ifndef DART_TEST_PLAIN_TRANSFORMER_H
#define DART_TEST_PLAIN_TRANSFORMER_H

#include "model_lab.h"
#include "reference.h"

static inline const double *value_of(const lab *l, int param)
{
    const dart_param *p = &l->model->param[param];
    return l->data.region[p->region] + p->offset;
}

static inline double *dense_of(const lab *l, int weight)
{
    const dart_model_weight *w = &l->model->weight[weight];
    double *tensor[DART_MAX_CORES + 2];
    for (uint32_t i = 0; i < w->layout.tensors; i++)
        tensor[i] = (double *)value_of(l, (int)w->param[i]);
    return reference_dense(&w->weight, &w->layout, tensor);
}

/* Told of each product, x (rows, in) of a weight; NULL: nobody. */
static void (*plain_watcher)(const lab *l, int weight, const double *x, uint32_t rows);

/* Added to one entry of what a weight makes of its rows. */
static struct {
    double by; /* 0: nothing is */
    int weight;
    uint32_t row, column;
} plain_nudge;

static inline void plain_linear(
    const lab *l, int weight, int bias, const double *x, uint32_t rows, double *y)
{
    if (plain_watcher) plain_watcher(l, weight, x, rows);
    const dart_weight *w = &l->model->weight[weight].weight;
    double *dense = dense_of(l, weight);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < w->out; i++) {
            double sum = bias >= 0 ? value_of(l, bias)[i] : 0;
            for (uint32_t j = 0; j < w->in; j++) sum += dense[i * w->in + j] * x[r * w->in + j];
            y[r * w->out + i] = sum;
        }
    if (plain_nudge.by != 0 && plain_nudge.weight == weight)
        y[plain_nudge.row * w->out + plain_nudge.column] += plain_nudge.by;
    free(dense);
}

static inline void plain_norm(const lab *l, int w, int b, const double *x, uint32_t rows, double *y)
{
    for (uint32_t r = 0; r < rows; r++) {
        const double *in = x + r * WIDTH;
        double mean = 0, square = 0;
        for (int j = 0; j < WIDTH; j++) mean += in[j] / WIDTH;
        if (b < 0) mean = 0;
        for (int j = 0; j < WIDTH; j++) square += (in[j] - mean) * (in[j] - mean) / WIDTH;
        for (int j = 0; j < WIDTH; j++)
            y[r * WIDTH + j] = (in[j] - mean) / sqrt(square + 1e-5) * value_of(l, w)[j] +
                               (b < 0 ? 0 : value_of(l, b)[j]);
    }
}

static inline double plain_turn(const dart_model_positions *p, uint32_t i, uint32_t size)
{
    const dart_rope_scaling *s = &p->scaling;
    const double turn = pow(p->base, -2.0 * i / size), length = 2 * acos(-1) / turn;
    const double part = (s->original_context / length - s->low) / (s->high - s->low);
    if (s->kind == DART_ROPE_LINEAR) return turn / s->factor;
    if (s->kind == DART_ROPE_PLAIN || part > 1) return turn;
    return part < 0 ? turn / s->factor : (1 - part) * turn / s->factor + part * turn;
}

/* RMS norm of each head of x (rows, heads, size) */
static inline void plain_head_norm(
    const lab *l, int w, double *x, uint32_t rows, uint32_t heads, uint32_t size)
{
    for (uint32_t r = 0; r < rows * heads; r++) {
        double square = 0, *at = x + r * size;
        for (uint32_t i = 0; i < size; i++) square += at[i] * at[i] / size;
        for (uint32_t i = 0; i < size; i++) at[i] *= value_of(l, w)[i] / sqrt(square + 1e-5);
    }
}

static inline void plain_rope(
    const dart_model_positions *p, double *x, uint32_t rows, uint32_t heads, uint32_t size)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t h = 0; h < heads; h++)
            for (uint32_t i = 0; i < size / 2; i++) {
                double angle = r * plain_turn(p, i, size);
                double *a = &x[(r * heads + h) * size + i], *b = a + size / 2;
                double u = *a, v = *b;
                *a = u * cos(angle) - v * sin(angle);
                *b = v * cos(angle) + u * sin(angle);
            }
}

/* x (rows, C) attends to memory (keys, C); self: with rotary positions if the model has them. */
static inline void plain_attention(const lab *l, const dart_model_attention *a, const double *x,
    uint32_t rows, const double *memory, uint32_t keys, bool self, bool causal, double *out)
{
    const dart_model_config *c = &l->model->config;
    uint32_t heads = c->heads, kv = c->kv_heads, size = c->head_dim ? c->head_dim : WIDTH / heads;
    enum { WIDEST = 2 * WIDTH }; /* all heads together */
    double q[MOST * WIDEST], k[MOST * WIDEST], v[MOST * WIDEST], mixed[MOST * WIDEST] = {0};
    plain_linear(l, a->q, a->q_bias, x, rows, q);
    plain_linear(l, a->k, a->k_bias, memory, keys, k);
    plain_linear(l, a->v, a->v_bias, memory, keys, v);
    if (self && c->qk_norm) {
        plain_head_norm(l, a->q_norm, q, rows, heads, size);
        plain_head_norm(l, a->k_norm, k, keys, kv, size);
    }
    if (self && c->positions.kind == DART_ROTARY) {
        plain_rope(&c->positions, q, rows, heads, size);
        plain_rope(&c->positions, k, keys, kv, size);
    }
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t t = 0; t < rows; t++) {
            uint32_t of = h / (heads / kv), seen = causal ? t + 1 : keys;
            double score[MOST], total = 0;
            for (uint32_t s = 0; s < seen; s++) {
                score[s] = 0;
                for (uint32_t i = 0; i < size; i++)
                    score[s] +=
                        q[(t * heads + h) * size + i] * k[(s * kv + of) * size + i] / sqrt(size);
                total += exp(score[s]);
            }
            for (uint32_t s = 0; s < seen; s++)
                for (uint32_t i = 0; i < size; i++)
                    mixed[(t * heads + h) * size + i] +=
                        exp(score[s]) / total * v[(s * kv + of) * size + i];
        }
    plain_linear(l, a->o, a->o_bias, mixed, rows, out);
}

static inline void plain_mlp(
    const lab *l, const dart_model_block *block, const double *x, uint32_t rows, double *out)
{
    double up[MOST * INNER], gate[MOST * INNER];
    plain_linear(l, block->up, block->up_bias, x, rows, up);
    int act = l->model->config.act;
    if (act == DART_ACT_SWIGLU) plain_linear(l, block->gate, block->gate_bias, x, rows, gate);
    for (uint32_t i = 0; i < rows * INNER; i++) {
        double a = up[i];
        if (act == DART_ACT_RELU)
            up[i] = a > 0 ? a : 0;
        else if (act == DART_ACT_GELU)
            up[i] = 0.5 * a * (1 + tanh(0.7978845608028654 * (a + 0.044715 * a * a * a)));
        else if (act == DART_ACT_GELU_ERF)
            up[i] = 0.5 * a * (1 + erf(a / sqrt(2)));
        else if (act == DART_ACT_SILU)
            up[i] = a / (1 + exp(-a));
        else
            up[i] = gate[i] / (1 + exp(-gate[i])) * a;
    }
    plain_linear(l, block->down, block->down_bias, up, rows, out);
}

/* y (rows, C) becomes y + up relu(down y) */
static inline void plain_adapter(
    const lab *l, const dart_model_adapter *adapter, double *y, uint32_t rows)
{
    enum { WIDEST = WIDTH };
    double h[MOST * WIDEST], more[MOST * WIDTH];
    if (!l->model->config.adapter) return;
    plain_linear(l, adapter->down, adapter->down_bias, y, rows, h);
    for (uint32_t i = 0; i < rows * l->model->config.adapter; i++) h[i] = h[i] > 0 ? h[i] : 0;
    plain_linear(l, adapter->up, adapter->up_bias, h, rows, more);
    for (uint32_t i = 0; i < rows * WIDTH; i++) y[i] += more[i];
}

enum { SELF, CROSS, MLP };

/* Sub-layer `part` of a block on the residual stream x; causal: of self-attention. */
static inline void plain_sublayer(const lab *l, const dart_model_block *block, int part,
    bool causal, double *x, uint32_t rows, const double *memory, uint32_t keys)
{
    const int w[] = {block->norm1_w, block->cross_norm_w, block->norm2_w};
    const int b[] = {block->norm1_b, block->cross_norm_b, block->norm2_b};
    bool post = l->model->config.norm.post;
    double h[MOST * WIDTH], y[MOST * WIDTH];
    memcpy(h, x, sizeof(double) * rows * WIDTH);
    if (!post) plain_norm(l, w[part], b[part], x, rows, h);
    if (part == SELF) plain_attention(l, &block->attn, h, rows, h, rows, true, causal, y);
    if (part == CROSS) plain_attention(l, &block->cross, h, rows, memory, keys, false, false, y);
    if (part == MLP) plain_mlp(l, block, h, rows, y);
    if (part == SELF) plain_adapter(l, &block->attn_adapter, y, rows);
    if (part == MLP) plain_adapter(l, &block->mlp_adapter, y, rows);
    for (uint32_t i = 0; i < rows * WIDTH; i++) x[i] += y[i];
    if (!post) return;
    memcpy(h, x, sizeof(double) * rows * WIDTH);
    plain_norm(l, w[part], b[part], h, rows, x);
}

static inline void plain_embed(
    const lab *l, int weight, int positions, const int32_t *ids, uint32_t rows, double *x)
{
    double *table = dense_of(l, weight);
    for (uint32_t r = 0; r < rows; r++)
        for (int j = 0; j < WIDTH; j++) {
            double *to = &x[r * WIDTH + j], e = table[ids[r] * WIDTH + j];
            double angle = r * pow(10000, -(double)(j / 2 * 2) / WIDTH);
            if (l->model->config.positions.kind == DART_SINUSOIDAL)
                *to = e * sqrt(WIDTH) + (j % 2 ? cos(angle) : sin(angle));
            else
                *to = e + (positions < 0 ? 0 : value_of(l, positions)[r * WIDTH + j]);
        }
    free(table);
}

/* Logits (vocab) of one row h (C) by the head's W; returns the negative log-likelihood of the
 * label, 0 where there is none. */
static inline double plain_nll(
    const lab *l, const double *head, const double *h, int32_t label, double *logits)
{
    double total = 0;
    for (uint32_t v = 0; v < l->model->config.vocab; v++) {
        logits[v] = 0;
        for (int j = 0; j < WIDTH; j++) logits[v] += h[j] * head[v * WIDTH + j];
        total += exp(logits[v]);
    }
    return label < 0 ? 0 : log(total) - logits[label];
}

#endif
