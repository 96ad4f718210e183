/* The encoder-decoder against a plain C one that materialises everything, gradients of every method
 * against finite differences, and what padding and the future must not change. On the f64 device.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "ir_run.h"
#include "roles.h"
#include "model.h"
#include "reference.h"
#include "rng.h"

enum { BATCH = 3, WIDTH = 8, INNER = 12, SOURCE_WORDS = 13, TARGET_WORDS = 11, MOST = 8 };

/* launch parameters (eps, scales) and tables are f32 also on the f64 device */
static const double TOLERANCE = 2e-6;

static dart_device *device;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static dart_model_config base_config(void)
{
    dart_model_config c = {.layers = 2,
        .enc_layers = 1,
        .d_model = WIDTH,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = INNER,
        .context = 5,
        .source_context = 6,
        .vocab = TARGET_WORDS,
        .source_vocab = SOURCE_WORDS,
        .act = DART_ACT_RELU};
    roles_new(&c, 3, 4, 3, 2);
    return c;
}

enum { FIXED = 6 };

static dart_model_config fixed_at(int which)
{
    dart_model_config c = base_config();
    switch (which) {
    case 0: /* Vaswani's: post-norm, sinusoids, one vocabulary, tied */
        c.positions.kind = DART_SINUSOIDAL;
        c.norm.post = c.shared_vocab = c.tied = c.bias = true;
        c.source_vocab = c.vocab;
        break;
    case 1: /* pre-norm of tensor trains, a table a side */
        c.bias = c.tied = true;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        c.enc_layers = 2;
        break;
    case 2: /* rotary, RMSNorm, SwiGLU, grouped heads, a shared TT table, own TT head */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.shared_vocab = true;
        c.source_vocab = c.vocab;
        c.act = DART_ACT_SWIGLU;
        c.kv_heads = 1;
        role_set(&c, LINEAR, "ttm");
        role_set(&c, EMBEDDING, "tt-embedding");
        role_set(&c, HEAD, "tt");
        break;
    case 3: /* LoRA, more layers below than above */
        role_set(&c, LINEAR, "lora");
        c.act = DART_ACT_GELU;
        c.enc_layers = 2;
        c.layers = 1;
        break;
    case 4: /* post-norm with learned positions, tensor trains */
        c.norm.post = c.bias = c.tied = true;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "ttm");
        break;
    default: /* dropout everywhere, smoothed labels */
        c.dropout = 0.3;
        c.label_smoothing = 0.1;
        role_set(&c, LINEAR, "tt");
        break;
    }
    return c;
}

/* The methods that none of these has come after them, one each. */
static int configs(void)
{
    uint32_t more = 0;
    while (method_left(more, FIXED, fixed_at)) more++;
    return FIXED + (int)more;
}

static dart_model_config config_at(int which)
{
    if (which < FIXED) return fixed_at(which);
    dart_model_config c = base_config();
    role_everywhere(&c, method_left((uint32_t)(which - FIXED), FIXED, fixed_at));
    return c;
}

typedef struct lab {
    dart_model *model;
    ir_data data;
    uint32_t source_time, time;
    int32_t source[BATCH * MOST], length[BATCH], target[BATCH * MOST], label[BATCH * MOST];
} lab;

/* Real words of every sentence: (source, target); the target's label <eos> is one more. */
static const int32_t real[BATCH][2] = {{6, 4}, {3, 2}, {1, 0}};

static void write_index(double *index, const int32_t *ids, uint32_t rows, uint32_t vocab)
{
    int32_t sorted = 0;
    for (uint32_t v = 0; v <= vocab; v++) {
        index[v] = sorted;
        for (uint32_t i = 0; i < rows && v < vocab; i++)
            if (ids[i] == (int32_t)v) index[vocab + 1 + sorted++] = i;
    }
}

/* The batch into the INPUT region. */
static void write_input(lab *l)
{
    const dart_model_config *c = &l->model->config;
    uint32_t rows = BATCH * l->time, source_rows = BATCH * l->source_time;
    uint64_t at[6];
    double *input = l->data.region[DART_REGION_INPUT];
    dart_model_input_offsets(l->model, BATCH, l->time, &at[0], &at[1], &at[2]);
    dart_model_source_offsets(l->model, BATCH, l->time, &at[3], &at[4], &at[5]);
    for (uint32_t i = 0; i < rows; i++) {
        input[at[0] + i] = l->target[i];
        input[at[1] + i] = l->label[i];
    }
    for (uint32_t i = 0; i < source_rows; i++) input[at[3] + i] = l->source[i];
    for (uint32_t b = 0; b < BATCH; b++) input[at[4] + b] = l->length[b];
    write_index(input + at[2], l->target, rows, c->vocab);
    write_index(input + at[5], l->source, source_rows, c->source_vocab);
}

static void lab_open(lab *l, const dart_model_config *config)
{
    memset(l, 0, sizeof *l);
    ok(dart_model_new(config, NULL, &l->model));
    const dart_model *m = l->model;
    l->time = config->context;
    l->source_time = config->source_context;
    const struct {
        int region;
        uint64_t words;
    } sizes[] = {{DART_REGION_PARAM, m->param_words}, {DART_REGION_GRAD, m->param_words},
        {DART_REGION_FROZEN, m->frozen_words}, {DART_REGION_TABLE, m->table_words},
        {DART_REGION_INPUT, dart_model_input_words(m, BATCH, l->time)},
        {DART_REGION_ISCAL, DART_ISCAL_WORDS}, {DART_REGION_FSCAL, DART_FSCAL_WORDS}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        l->data.words[sizes[i].region] = sizes[i].words;
        l->data.region[sizes[i].region] = calloc(sizes[i].words + 1, sizeof(double));
    }
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *param = &m->param[p];
        double *to = l->data.region[param->region] + param->offset;
        double spread = param->shape.rank == 1 ? 0.2 : 0.5;
        for (uint64_t i = 0; i < dart_shape_words(&param->shape); i++)
            to[i] = (param->ones ? 1.0 : 0.0) + spread * dart_normal(9, DART_STREAM_TEST + p, i);
    }
    if (m->table_words) {
        float *table = calloc(m->table_words, sizeof *table);
        dart_model_table(m, table);
        for (uint64_t i = 0; i < m->table_words; i++)
            l->data.region[DART_REGION_TABLE][i] = table[i];
        free(table);
    }
    l->data.region[DART_REGION_ISCAL][0] = 3;
    l->data.region[DART_REGION_ISCAL][1] = 17;
    uint32_t labels = 0;
    for (uint32_t b = 0; b < BATCH; b++) {
        l->length[b] = real[b][0];
        for (uint32_t t = 0; t < l->source_time; t++)
            l->source[b * l->source_time + t] =
                (int32_t)t < real[b][0] ? (int32_t)(dart_uniform(9, DART_STREAM_TEST, 10 * b + t) *
                                                    config->source_vocab)
                                        : 0;
        for (uint32_t t = 0; t < l->time; t++) {
            uint32_t i = b * l->time + t;
            bool in = (int32_t)t <= real[b][1];
            l->target[i] =
                in ? (int32_t)(dart_uniform(9, DART_STREAM_TEST + 1, 10 * b + t) * config->vocab)
                   : 0;
            l->label[i] =
                in ? (int32_t)(dart_uniform(9, DART_STREAM_TEST + 2, 10 * b + t) * config->vocab)
                   : -1;
            labels += in;
        }
    }
    l->data.region[DART_REGION_FSCAL][DART_FSCAL_SCALE] = 1.0 / labels;
    write_input(l);
}

static void lab_close(lab *l)
{
    dart_model_free(l->model);
    for (int r = 0; r < DART_REGIONS; r++) free(l->data.region[r]);
}

/* ---- the plain transformer, one sentence at a time ---- */

static const double *value_of(const lab *l, int param)
{
    const dart_param *p = &l->model->param[param];
    return l->data.region[p->region] + p->offset;
}

static double *dense_of(const lab *l, int weight)
{
    const dart_model_weight *w = &l->model->weight[weight];
    double *tensor[DART_MAX_CORES + 2];
    for (uint32_t i = 0; i < w->layout.tensors; i++)
        tensor[i] = (double *)value_of(l, (int)(w->first_param + i));
    return reference_dense(&w->weight, &w->layout, tensor);
}

static void plain_linear(
    const lab *l, int weight, int bias, const double *x, uint32_t rows, double *y)
{
    const dart_weight *w = &l->model->weight[weight].weight;
    double *dense = dense_of(l, weight);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < w->out; i++) {
            double sum = bias >= 0 ? value_of(l, bias)[i] : 0;
            for (uint32_t j = 0; j < w->in; j++) sum += dense[i * w->in + j] * x[r * w->in + j];
            y[r * w->out + i] = sum;
        }
    free(dense);
}

static void plain_norm(const lab *l, int w, int b, const double *x, uint32_t rows, double *y)
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

static void plain_rope(double *x, uint32_t rows, uint32_t heads, uint32_t size)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t h = 0; h < heads; h++)
            for (uint32_t i = 0; i < size / 2; i++) {
                double angle = r * pow(10000, -2.0 * i / size);
                double *a = &x[(r * heads + h) * size + i], *b = a + size / 2;
                double u = *a, v = *b;
                *a = u * cos(angle) - v * sin(angle);
                *b = v * cos(angle) + u * sin(angle);
            }
}

/* x (rows, C) attends to memory (keys, C); self: with rotary positions if the model has them. */
static void plain_attention(const lab *l, const dart_model_attention *a, const double *x,
    uint32_t rows, const double *memory, uint32_t keys, bool self, bool causal, double *out)
{
    const dart_model_config *c = &l->model->config;
    uint32_t heads = c->heads, kv = c->kv_heads, size = WIDTH / heads;
    double q[MOST * WIDTH], k[MOST * WIDTH], v[MOST * WIDTH], mixed[MOST * WIDTH] = {0};
    plain_linear(l, a->q, a->q_bias, x, rows, q);
    plain_linear(l, a->k, a->k_bias, memory, keys, k);
    plain_linear(l, a->v, a->v_bias, memory, keys, v);
    if (self && c->positions.kind == DART_ROTARY) {
        plain_rope(q, rows, heads, size);
        plain_rope(k, keys, kv, size);
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

static void plain_mlp(
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
        else
            up[i] = gate[i] / (1 + exp(-gate[i])) * a;
    }
    plain_linear(l, block->down, block->down_bias, up, rows, out);
}

/* Sub-layer `part` of a block on the residual stream x: 0 self-attention, 1 cross-attention, 2 MLP.
 */
static void plain_sublayer(const lab *l, const dart_model_block *block, int part, double *x,
    uint32_t rows, const double *memory, uint32_t keys)
{
    const int w[] = {block->norm1_w, block->cross_norm_w, block->norm2_w};
    const int b[] = {block->norm1_b, block->cross_norm_b, block->norm2_b};
    bool post = l->model->config.norm.post;
    double h[MOST * WIDTH], y[MOST * WIDTH];
    memcpy(h, x, sizeof(double) * rows * WIDTH);
    if (!post) plain_norm(l, w[part], b[part], x, rows, h);
    if (part == 0) plain_attention(l, &block->attn, h, rows, h, rows, true, memory != NULL, y);
    if (part == 1) plain_attention(l, &block->cross, h, rows, memory, keys, false, false, y);
    if (part == 2) plain_mlp(l, block, h, rows, y);
    for (uint32_t i = 0; i < rows * WIDTH; i++) x[i] += y[i];
    if (!post) return;
    memcpy(h, x, sizeof(double) * rows * WIDTH);
    plain_norm(l, w[part], b[part], h, rows, x);
}

static void plain_embed(
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

/* Only the real words of each sentence are computed. nll (BATCH * time), 0 at padding. */
static double plain_model(const lab *l, double *nll)
{
    const dart_model *m = l->model;
    double loss = 0, labels = 0, *head = dense_of(l, m->head);
    for (uint32_t b = 0; b < BATCH; b++) {
        uint32_t keys = (uint32_t)l->length[b], rows = (uint32_t)real[b][1] + 1;
        double memory[MOST * WIDTH], x[MOST * WIDTH], h[MOST * WIDTH];
        plain_embed(l, m->source_embedding, m->source_positions, l->source + b * l->source_time,
            keys, memory);
        for (uint32_t layer = 0; layer < m->config.enc_layers; layer++) {
            plain_sublayer(l, &m->encoder[layer], 0, memory, keys, NULL, 0);
            plain_sublayer(l, &m->encoder[layer], 2, memory, keys, NULL, 0);
        }
        if (m->source_norm_w >= 0) {
            memcpy(h, memory, sizeof h);
            plain_norm(l, m->source_norm_w, m->source_norm_b, h, keys, memory);
        }
        plain_embed(l, m->embedding, m->positions, l->target + b * l->time, rows, x);
        for (uint32_t layer = 0; layer < m->config.layers; layer++)
            for (int part = 0; part < 3; part++)
                plain_sublayer(l, &m->block[layer], part, x, rows, memory, keys);
        memcpy(h, x, sizeof h);
        if (m->norm_w >= 0) plain_norm(l, m->norm_w, m->norm_b, x, rows, h);
        for (uint32_t t = 0; t < l->time; t++) {
            double total = 0, of_label = 0, *to = &nll[b * l->time + t];
            *to = 0;
            if (t >= rows) continue;
            for (int v = 0; v < (int)m->config.vocab; v++) {
                double y = 0;
                for (int j = 0; j < WIDTH; j++) y += h[t * WIDTH + j] * head[v * WIDTH + j];
                total += exp(y);
                if (v == l->label[b * l->time + t]) of_label = y;
            }
            *to = log(total) - of_label;
            loss += *to;
            labels++;
        }
    }
    free(head);
    return loss / labels;
}

/* ---- graphs ---- */

typedef struct built {
    dart_graph *graph;
    dart_model_leaves leaves;
    ir_run run;
} built;

static void open_graph(const lab *l, built *b)
{
    memset(b, 0, sizeof *b);
    ok(dart_graph_new(&b->graph));
    ok(dart_model_leaves_new(l->model, b->graph, BATCH, l->time, &b->leaves));
}

static void close_graph(built *b)
{
    ir_run_free(&b->run);
    dart_model_leaves_free(&b->leaves);
    dart_graph_free(b->graph);
}

static void run_graph(const lab *l, built *b, uint32_t keeps, const dart_node *keep)
{
    ok(dart_graph_check(b->graph));
    ok(ir_prepare(&b->run, device, b->graph, &l->data, keeps, keep));
    ok(dart_exec_run(b->run.exec, NULL));
}

static void open_training(const lab *l, built *b, uint32_t chunk)
{
    open_graph(l, b);
    const dart_model *m = l->model;
    dart_node *grads = calloc(m->params, sizeof *grads);
    dart_node loss = dart_model_loss(m, b->graph, &b->leaves, true, chunk, NULL);
    ok(dart_grad(b->graph, loss, m->params, b->leaves.param, grads));
    for (uint32_t p = 0; p < m->params; p++)
        if (m->param[p].region == DART_REGION_PARAM)
            dart_store(b->graph,
                dart_leaf(b->graph, m->param[p].name, DART_F32, m->param[p].shape, DART_REGION_GRAD,
                    m->param[p].offset),
                grads[p]);
    free(grads);
    run_graph(l, b, 1, &loss);
}

/* The loss and all gradients (param_words, malloc'ed) of a training step. */
static double train(const lab *l, uint32_t chunk, double **out_gradient)
{
    built b;
    double loss;
    open_training(l, &b, chunk);
    ok(ir_read(&b.run, 0, &loss));
    if (out_gradient) {
        *out_gradient = calloc(l->model->param_words, sizeof **out_gradient);
        ok(ir_read_region(&b.run, DART_REGION_GRAD, *out_gradient));
    }
    close_graph(&b);
    return loss;
}

/* Logits of all positions, (BATCH * time, columns), malloc'ed. */
static double *logits_of(const lab *l, uint32_t *out_columns)
{
    built b;
    open_graph(l, &b);
    dart_node y = dart_model_logits(l->model, b.graph, &b.leaves, l->time);
    *out_columns = l->model->weight[l->model->head].layout.padded_out;
    double *got = calloc((size_t)BATCH * l->time * *out_columns, sizeof *got);
    run_graph(l, &b, 1, &y);
    ok(ir_read(&b.run, 0, got));
    close_graph(&b);
    return got;
}

static void loss_equals_the_plain_transformer(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        config.dropout = config.label_smoothing = 0;
        lab l;
        lab_open(&l, &config);
        double nll[BATCH * MOST], want = plain_model(&l, nll);
        const uint32_t chunks[] = {0, 1, 4, 99};
        for (int i = 0; i < 4; i++) {
            built b;
            double loss, rows[BATCH * MOST];
            dart_node keep[2];
            open_graph(&l, &b);
            keep[0] = dart_model_loss(l.model, b.graph, &b.leaves, false, chunks[i], &keep[1]);
            run_graph(&l, &b, 2, keep);
            ok(ir_read(&b.run, 0, &loss));
            ok(ir_read(&b.run, 1, rows));
            close_graph(&b);
            if (fabs(loss - want) > TOLERANCE * fabs(want))
                fail_msg("config %d: loss %.9g, plain %.9g", which, loss, want);
            for (uint32_t r = 0; r < BATCH * l.time; r++)
                assert_true(fabs(rows[r] - nll[r]) < TOLERANCE);
            loss = train(&l, chunks[i], NULL);
            assert_true(fabs(loss - want) < TOLERANCE * fabs(want));
        }
        lab_close(&l);
    }
}

static void gradients_match_differences(void **state)
{
    (void)state;
    int compared = 0;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        lab l;
        built b;
        lab_open(&l, &config);
        open_training(&l, &b, 4);
        const dart_model *m = l.model;
        double *gradient = calloc(m->param_words, sizeof *gradient);
        ok(ir_read_region(&b.run, DART_REGION_GRAD, gradient));
        for (uint32_t p = 0; p < m->params; p++) {
            const dart_param *param = &m->param[p];
            uint64_t words = dart_shape_words(&param->shape);
            if (param->region != DART_REGION_PARAM) continue;
            for (uint64_t i = p % 3; i < words; i += 1 + words / 4) {
                double *at = l.data.region[DART_REGION_PARAM] + param->offset + i;
                double saved = *at, value[2];
                for (int side = 0; side < 2; side++) {
                    *at = saved + (side ? -1e-6 : 1e-6);
                    ok(dart_device_write_f64(device, b.run.memory.buffer[DART_REGION_PARAM], 0,
                        m->param_words, l.data.region[DART_REGION_PARAM]));
                    ok(dart_exec_run(b.run.exec, NULL));
                    ok(ir_read(&b.run, 0, &value[side]));
                }
                *at = saved;
                double difference = (value[0] - value[1]) / 2e-6;
                double got = gradient[param->offset + i];
                if (fabs(difference - got) > 1e-5 + 1e-3 * fabs(difference))
                    fail_msg("config %d %s entry %llu: gradient %g, difference %g", which,
                        param->name, (unsigned long long)i, got, difference);
                compared++;
            }
        }
        free(gradient);
        close_graph(&b);
        lab_close(&l);
    }
    print_message("encoder-decoder: %d gradient entries compared\n", compared);
    assert_true(compared >= 900);
}

/* ---- padding ---- */

/* What stands in padded places is never seen: loss and gradients keep their bits, but for the
 * gradients of the padded tokens' own rows, which stay 0. */
static void padded_words_are_not_seen(void **state)
{
    (void)state;
    for (int which = 0; which < FIXED - 1; which++) {
        dart_model_config config = config_at(which);
        lab l;
        lab_open(&l, &config);
        double *before, *after, loss = train(&l, 0, &before);
        for (uint32_t b = 0; b < BATCH; b++) {
            for (uint32_t t = (uint32_t)real[b][0]; t < l.source_time; t++)
                l.source[b * l.source_time + t] = (int32_t)(t + 1);
            for (uint32_t t = (uint32_t)real[b][1] + 1; t < l.time; t++)
                l.target[b * l.time + t] = (int32_t)(t + 2);
        }
        write_input(&l);
        assert_true(train(&l, 0, &after) == loss);
        for (uint64_t i = 0; i < l.model->param_words; i++)
            if (fabs(before[i] - after[i]) > 1e-14) /* sums of other zeros */
                fail_msg("config %d: word %llu is %g, was %g", which, (unsigned long long)i,
                    after[i], before[i]);
        free(after);
        l.source[l.source_time] = (l.source[l.source_time] + 1) % (int32_t)config.source_vocab;
        write_input(&l);
        assert_true(fabs(train(&l, 0, NULL) - loss) > 1e-6); /* a real word is seen */
        free(before);
        lab_close(&l);
    }
}

/* The same sentences in a batch with more padding: the same loss and gradients. */
static void more_padding_changes_nothing(void **state)
{
    (void)state;
    for (int rope = 0; rope < 2; rope++) {
        double loss[2], *gradient[2];
        uint64_t words = 0;
        for (int wide = 0; wide < 2; wide++) {
            dart_model_config config = base_config();
            role_set(&config, LINEAR, "tt");
            /* no parameter depends on the context */
            config.positions.kind = rope ? DART_ROTARY : DART_SINUSOIDAL;
            config.context += wide ? 3 : 0;
            config.source_context += wide ? 2 : 0;
            lab l;
            lab_open(&l, &config);
            words = l.model->param_words;
            loss[wide] = train(&l, 3, &gradient[wide]);
            lab_close(&l);
        }
        assert_true(fabs(loss[0] - loss[1]) < 1e-13 * fabs(loss[0]));
        double apart = 0, norm = 0;
        for (uint64_t i = 0; i < words; i++) {
            apart += (gradient[0][i] - gradient[1][i]) * (gradient[0][i] - gradient[1][i]);
            norm += gradient[0][i] * gradient[0][i];
        }
        assert_true(norm > 0 && sqrt(apart / norm) < 1e-12);
        free(gradient[0]);
        free(gradient[1]);
    }
}

static void the_future_is_not_seen(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        lab l;
        uint32_t columns;
        lab_open(&l, &config);
        double *before = logits_of(&l, &columns);
        for (uint32_t changed = 1; changed < l.time; changed++) {
            int32_t kept = l.target[changed]; /* of the first sentence */
            l.target[changed] = (kept + 1) % (int32_t)config.vocab;
            write_input(&l);
            double *after = logits_of(&l, &columns);
            for (uint32_t t = 0; t < l.time; t++) {
                bool same = memcmp(before + t * columns, after + t * columns,
                                columns * sizeof *before) == 0;
                assert_int_equal(same, t < changed);
            }
            /* other sentences are not touched */
            assert_memory_equal(before + l.time * columns, after + l.time * columns,
                (BATCH - 1) * l.time * columns * sizeof *before);
            free(after);
            l.target[changed] = kept;
        }
        free(before);
        lab_close(&l);
    }
}

/* A row that only fills a batch: no source, no labels. */
static void an_empty_row_is_harmless(void **state)
{
    (void)state;
    dart_model_config config = config_at(1);
    lab l;
    lab_open(&l, &config);
    l.length[2] = 0;
    l.label[2 * l.time] = -1;
    write_input(&l);
    double *gradient, loss = train(&l, 0, &gradient);
    assert_true(isfinite(loss) && loss > 0);
    for (uint64_t i = 0; i < l.model->param_words; i++) assert_true(isfinite(gradient[i]));
    free(gradient);
    lab_close(&l);
}

/* ---- names and bad configurations ---- */

static void weights_are_named_by_side(void **state)
{
    (void)state;
    static const char *const names[] = {"tok_emb", "src_emb", "enc.1.attn.q", "enc.0.mlp.down",
        "dec.0.attn.o", "dec.1.cross.q", "dec.0.cross.v", "dec.1.mlp.up"};
    dart_model_config config = config_at(1);
    dart_model *model;
    ok(dart_model_new(&config, NULL, &model));
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        uint32_t w = 0;
        while (w < model->weights && strcmp(model->weight[w].weight.name, names[n])) w++;
        if (w == model->weights) fail_msg("no weight is called %s", names[n]);
    }
    /* 2 tables, 2 x 6 in the encoder, 2 x 10 in the decoder */
    assert_int_equal(model->weights, 34);
    dart_model_free(model);
}

static void impossible_models_are_refused(void **state)
{
    (void)state;
    dart_model *model;
    dart_model_config c = base_config();
    c.shared_vocab = true;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "13 source and 11 target"));
    c = base_config();
    c.source_context = 0;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    c = base_config();
    c.enc_layers = 0;
    c.norm.post = true;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "encoder-decoder"));
    c = base_config();
    c.positions.kind = 3;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_equals_the_plain_transformer),
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(padded_words_are_not_seen),
        cmocka_unit_test(more_padding_changes_nothing),
        cmocka_unit_test(the_future_is_not_seen),
        cmocka_unit_test(an_empty_row_is_harmless),
        cmocka_unit_test(weights_are_named_by_side),
        cmocka_unit_test(impossible_models_are_refused),
    };
    if (dart_device_open("cpu64", NULL, &device) != DART_OK) {
        printf("%s\n", dart_error_text());
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dart_device_close(device);
    return failed;
}
