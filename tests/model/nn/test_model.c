/* GPT and Llama blocks with every option against a plain C transformer that materialises
 * everything, gradients against finite differences, chunking, layout, the stacked penalty and the
 * AdamW step. On the f64 device. */
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
#include "optim.h"
#include "reference.h"
#include "reg.h"
#include "rng.h"

enum { BATCH = 2, TIME = 5, ROWS = BATCH * TIME, VOCAB = 19, WIDTH = 8, LABEL_IGNORED = 7 };

/* launch parameters (eps, scales) and the rotary table are f32 also on the f64 device */
static const double TOLERANCE = 2e-6;

static dart_device *device;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static dart_model_config base_config(void)
{
    dart_model_config c = {.layers = 2,
        .d_model = WIDTH,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = 12,
        .context = 6,
        .vocab = VOCAB};
    roles_new(&c, 3, 4, 3, 2);
    return c;
}

enum { FIXED = 6 };

static dart_model_config fixed_at(int which)
{
    dart_model_config c = base_config();
    switch (which) {
    case 0: /* GPT-2, dense */
        c.bias = c.tied = true;
        break;
    case 1: /* GPT of tensor trains, tied TT embedding */
        c.bias = c.tied = true;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        break;
    case 2: /* Llama: grouped heads, TT head */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = 2;
        c.kv_heads = 1;
        role_set(&c, LINEAR, "ttm");
        role_set(&c, EMBEDDING, "tt-embedding");
        role_set(&c, HEAD, "tt");
        break;
    case 3: /* LoRA on a GPT with SiLU, untied */
        c.act = 1;
        role_set(&c, LINEAR, "lora");
        break;
    case 4: /* four heads in two groups, biases, rotary, LayerNorm */
        c.positions.kind = DART_ROTARY;
        c.bias = true;
        c.heads = 4;
        c.kv_heads = 2;
        c.act = 2;
        role_set(&c, LINEAR, "tt");
        c.tied = true;
        break;
    default: /* dropout everywhere */
        c.dropout = 0.3;
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
    int32_t token[ROWS], label[ROWS];
} lab;

static void lab_open_at(
    lab *l, const dart_model_config *config, const uint32_t (*ranks)[DART_MAX_CORES + 1])
{
    memset(l, 0, sizeof *l);
    ok(dart_model_new(config, ranks, &l->model));
    const dart_model *m = l->model;
    uint64_t floats, ints;
    ok(dart_model_chains_size(m, &floats, &ints));
    const struct {
        int region;
        uint64_t words;
    } sizes[] = {{DART_REGION_PARAM, m->param_words}, {DART_REGION_GRAD, m->param_words},
        {DART_REGION_PENALTY, m->param_words}, {DART_REGION_MOMENT, 2 * m->param_words},
        {DART_REGION_FROZEN, m->frozen_words}, {DART_REGION_TABLE, m->table_words},
        {DART_REGION_INPUT, dart_model_input_words(m, BATCH, TIME)}, {DART_REGION_ISCAL, 16},
        {DART_REGION_FSCAL, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        l->data.words[sizes[i].region] = sizes[i].words;
        uint64_t room = sizes[i].region == DART_REGION_TABLE
                            ? dart_model_chains_at(m) + floats + ints
                            : sizes[i].words;
        l->data.region[sizes[i].region] = calloc(room + 1, sizeof(double));
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
    uint64_t at[3];
    dart_model_input_offsets(m, BATCH, TIME, &at[0], &at[1], &at[2]);
    double *input = l->data.region[DART_REGION_INPUT];
    for (int i = 0; i < ROWS; i++) {
        l->token[i] = (int32_t)(dart_uniform(9, DART_STREAM_TEST, i) * VOCAB);
        l->label[i] = (int32_t)(dart_uniform(9, DART_STREAM_TEST + 1, i) * VOCAB);
    }
    l->token[1] = l->token[4] = l->token[6]; /* duplicates accumulate */
    l->label[LABEL_IGNORED] = -1;
    int32_t sorted = 0;
    for (int32_t v = 0; v <= VOCAB; v++) {
        input[at[2] + v] = sorted;
        for (int i = 0; i < ROWS && v < VOCAB; i++)
            if (l->token[i] == v) input[at[2] + VOCAB + 1 + sorted++] = i;
    }
    for (int i = 0; i < ROWS; i++) {
        input[at[0] + i] = l->token[i];
        input[at[1] + i] = l->label[i];
    }
}

static void lab_open(lab *l, const dart_model_config *config)
{
    lab_open_at(l, config, NULL);
}

static void lab_close(lab *l)
{
    dart_model_free(l->model);
    for (int r = 0; r < DART_REGIONS; r++) free(l->data.region[r]);
}

/* ---- the plain transformer ---- */

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

static void plain_linear(const lab *l, int weight, int bias, const double *x, double *y)
{
    const dart_weight *w = &l->model->weight[weight].weight;
    double *dense = dense_of(l, weight);
    for (int r = 0; r < ROWS; r++)
        for (uint32_t i = 0; i < w->out; i++) {
            double sum = bias >= 0 ? value_of(l, bias)[i] : 0;
            for (uint32_t j = 0; j < w->in; j++) sum += dense[i * w->in + j] * x[r * w->in + j];
            y[r * w->out + i] = sum;
        }
    free(dense);
}

static void plain_norm(const lab *l, int w, int b, const double *x, double *y)
{
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, square = 0;
        for (int j = 0; j < WIDTH; j++) mean += x[r * WIDTH + j] / WIDTH;
        if (b < 0) mean = 0;
        for (int j = 0; j < WIDTH; j++)
            square += (x[r * WIDTH + j] - mean) * (x[r * WIDTH + j] - mean) / WIDTH;
        for (int j = 0; j < WIDTH; j++)
            y[r * WIDTH + j] = (x[r * WIDTH + j] - mean) / sqrt(square + 1e-5) * value_of(l, w)[j] +
                               (b < 0 ? 0 : value_of(l, b)[j]);
    }
}

static void plain_rope(double *x, uint32_t heads, uint32_t size)
{
    for (int r = 0; r < ROWS; r++)
        for (uint32_t h = 0; h < heads; h++)
            for (uint32_t i = 0; i < size / 2; i++) {
                double angle = r % TIME * pow(10000, -2.0 * i / size);
                double *a = &x[(r * heads + h) * size + i], *b = a + size / 2;
                double u = *a, v = *b;
                *a = u * cos(angle) - v * sin(angle);
                *b = v * cos(angle) + u * sin(angle);
            }
}

static void plain_attention(
    const lab *l, const dart_model_block *block, const double *x, double *out)
{
    const dart_model_config *c = &l->model->config;
    uint32_t heads = c->heads, kv = c->kv_heads, size = WIDTH / heads;
    double q[ROWS * WIDTH], k[ROWS * WIDTH], v[ROWS * WIDTH], mixed[ROWS * WIDTH] = {0};
    plain_linear(l, block->attn.q, block->attn.q_bias, x, q);
    plain_linear(l, block->attn.k, block->attn.k_bias, x, k);
    plain_linear(l, block->attn.v, block->attn.v_bias, x, v);
    if (c->positions.kind == DART_ROTARY) {
        plain_rope(q, heads, size);
        plain_rope(k, kv, size);
    }
    for (int b = 0; b < BATCH; b++)
        for (uint32_t h = 0; h < heads; h++)
            for (int t = 0; t < TIME; t++) {
                uint32_t of = h / (heads / kv);
                double score[TIME], total = 0;
                for (int s = 0; s <= t; s++) {
                    score[s] = 0;
                    for (uint32_t i = 0; i < size; i++)
                        score[s] += q[((b * TIME + t) * heads + h) * size + i] *
                                    k[((b * TIME + s) * kv + of) * size + i] / sqrt(size);
                    total += exp(score[s]);
                }
                for (int s = 0; s <= t; s++)
                    for (uint32_t i = 0; i < size; i++)
                        mixed[((b * TIME + t) * heads + h) * size + i] +=
                            exp(score[s]) / total * v[((b * TIME + s) * kv + of) * size + i];
            }
    plain_linear(l, block->attn.o, block->attn.o_bias, mixed, out);
}

static void plain_mlp(const lab *l, const dart_model_block *block, const double *x, double *out)
{
    const dart_model_config *c = &l->model->config;
    double up[ROWS * 12], gate[ROWS * 12];
    plain_linear(l, block->up, block->up_bias, x, up);
    if (c->act == 2) plain_linear(l, block->gate, block->gate_bias, x, gate);
    for (int i = 0; i < ROWS * 12; i++) {
        double a = up[i];
        if (c->act == 0)
            up[i] = 0.5 * a * (1 + tanh(0.7978845608028654 * (a + 0.044715 * a * a * a)));
        else if (c->act == 1)
            up[i] = a / (1 + exp(-a));
        else
            up[i] = gate[i] / (1 + exp(-gate[i])) * a;
    }
    plain_linear(l, block->down, block->down_bias, up, out);
}

/* nll[ROWS], logits (ROWS, VOCAB); returns the loss */
static double plain_model(const lab *l, double *nll, double *logits)
{
    const dart_model *m = l->model;
    double x[ROWS * WIDTH], h[ROWS * WIDTH], d[ROWS * WIDTH], loss = 0;
    double *table = dense_of(l, m->embedding), *head = dense_of(l, m->head);
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < WIDTH; j++)
            x[r * WIDTH + j] =
                table[l->token[r] * WIDTH + j] +
                (m->positions < 0 ? 0 : value_of(l, m->positions)[r % TIME * WIDTH + j]);
    for (uint32_t layer = 0; layer < m->config.layers; layer++) {
        const dart_model_block *block = &m->block[layer];
        plain_norm(l, block->norm1_w, block->norm1_b, x, h);
        plain_attention(l, block, h, d);
        for (int i = 0; i < ROWS * WIDTH; i++) x[i] += d[i];
        plain_norm(l, block->norm2_w, block->norm2_b, x, h);
        plain_mlp(l, block, h, d);
        for (int i = 0; i < ROWS * WIDTH; i++) x[i] += d[i];
    }
    plain_norm(l, m->norm_w, m->norm_b, x, h);
    for (int r = 0; r < ROWS; r++) {
        double total = 0;
        for (int v = 0; v < VOCAB; v++) {
            logits[r * VOCAB + v] = 0;
            for (int j = 0; j < WIDTH; j++)
                logits[r * VOCAB + v] += h[r * WIDTH + j] * head[v * WIDTH + j];
            total += exp(logits[r * VOCAB + v]);
        }
        nll[r] = l->label[r] < 0 ? 0 : log(total) - logits[r * VOCAB + l->label[r]];
        loss += nll[r] / ROWS;
    }
    free(table);
    free(head);
    return loss;
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
    ok(dart_model_leaves_new(l->model, b->graph, BATCH, TIME, &b->leaves));
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

/* Loss with gradients of all trainable parameters stored into GRAD; keep 0 is the loss. */
static void run_training(const lab *l, built *b, uint32_t chunk)
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

static void loss_equals_the_plain_transformer(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        config.dropout = 0;
        lab l;
        lab_open(&l, &config);
        double nll[ROWS], logits[ROWS * VOCAB], want = plain_model(&l, nll, logits);
        const uint32_t chunks[] = {0, 1, 3, 4, ROWS, 99};
        for (int i = 0; i < 6; i++) {
            built b;
            double loss, rows[ROWS];
            dart_node keep[2];
            open_graph(&l, &b);
            keep[0] = dart_model_loss(l.model, b.graph, &b.leaves, false, chunks[i], &keep[1]);
            run_graph(&l, &b, 2, keep);
            ok(ir_read(&b.run, 0, &loss));
            ok(ir_read(&b.run, 1, rows));
            assert_true(fabs(loss - want) < TOLERANCE * fabs(want));
            for (int r = 0; r < ROWS; r++) assert_true(fabs(rows[r] - nll[r]) < TOLERANCE);
            close_graph(&b);
            run_training(&l, &b, chunks[i]);
            ok(ir_read(&b.run, 0, &loss));
            assert_true(fabs(loss - want) < TOLERANCE * fabs(want));
            close_graph(&b);
        }
        for (uint32_t at = 0; at < TIME; at += 2) {
            built b;
            open_graph(&l, &b);
            dart_node y = dart_model_logits(l.model, b.graph, &b.leaves, at);
            uint32_t padded = l.model->weight[l.model->head].layout.padded_out;
            double *got = calloc((size_t)BATCH * padded, sizeof *got);
            run_graph(&l, &b, 1, &y);
            ok(ir_read(&b.run, 0, got));
            for (int s = 0; s < BATCH; s++)
                for (int v = 0; v < VOCAB; v++)
                    assert_true(fabs(got[s * padded + v] - logits[(s * TIME + at) * VOCAB + v]) <
                                TOLERANCE);
            free(got);
            close_graph(&b);
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
        run_training(&l, &b, 4);
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
    print_message("model: %d gradient entries compared\n", compared);
    assert_true(compared >= 600);
}

/* The training step of a model with a large vocabulary: launches and tensors wider than a chunk of
 * the logits; the largest piece of the arena that any launch binds. */
static uint64_t largest_piece(uint32_t vocab, uint32_t chunk, const char *head, uint32_t *full)
{
    enum { SENTENCES = 8, LENGTH = 8 };
    dart_model_config config = base_config();
    config.vocab = vocab;
    config.context = LENGTH;
    role_set(&config, HEAD, head);
    dart_model *model;
    dart_model_leaves leaves;
    dart_graph *graph, *better;
    dart_plan *plan;
    ok(dart_model_new(&config, NULL, &model));
    ok(dart_graph_new(&graph));
    ok(dart_model_leaves_new(model, graph, SENTENCES, LENGTH, &leaves));
    dart_node keep[256] = {0};
    keep[0] = dart_model_loss(model, graph, &leaves, true, chunk, NULL);
    assert_true(model->params < 255);
    ok(dart_grad(graph, keep[0], model->params, leaves.param, keep + 1));
    dart_node *map = calloc(dart_graph_count(graph) + 1, sizeof *map);
    dart_cost cost = dart_cost_for(&device->caps);
    ok(dart_optimize(graph, &cost, model->params + 1, keep, &better, map));
    for (uint32_t i = 0; i <= model->params; i++) keep[i] = map[keep[i]];
    ok(dart_plan_new(better, &device->caps, model->params + 1, keep, &plan));
    uint32_t launches;
    uint64_t largest = 0;
    const dart_launch *list = dart_plan_launches(plan, &launches);
    *full = 0;
    for (uint32_t i = 0; i < launches; i++)
        for (uint32_t b = 0; b < list[i].buffers; b++) {
            if (list[i].buf[b].buffer < DART_REGIONS) continue;
            if (list[i].buf[b].words > largest) largest = list[i].buf[b].words;
            *full += list[i].kernel == DART_K_cross_entropy && b == 0 &&
                     list[i].buf[b].words == (uint64_t)chunk * vocab;
        }
    dart_plan_free(plan);
    dart_graph_free(better);
    dart_graph_free(graph);
    dart_model_leaves_free(&leaves);
    dart_model_free(model);
    free(map);
    return largest;
}

/* The claim: never more than a chunk of the logits, forward or backward. */
static void logits_come_in_chunks(void **state)
{
    (void)state;
    enum { WORDS_MOST = 500, ALL = 64, CHUNK = 16 }; /* a chunk is larger than the table: 16 > 8 */
    const char *const heads[] = {"dense", "tt", "ttm"};
    for (int h = 0; h < 3; h++) {
        uint32_t full;
        assert_int_equal(largest_piece(WORDS_MOST, CHUNK, heads[h], &full), CHUNK * WORDS_MOST);
        assert_int_equal(full, ALL / CHUNK);
        /* the control: one chunk of everything is what the bound forbids */
        assert_int_equal(largest_piece(WORDS_MOST, ALL, heads[h], &full), ALL * WORDS_MOST);
        assert_int_equal(full, 1);
    }
}

/* Dropout: the same step repeats, another step differs, evaluation ignores it. */
static void dropout_follows_the_step(void **state)
{
    (void)state;
    dart_model_config config = config_at(5);
    double value[3];
    lab l;
    lab_open(&l, &config);
    for (int i = 0; i < 3; i++) {
        built b;
        l.data.region[DART_REGION_ISCAL][0] = i == 2 ? 4 : 3;
        run_training(&l, &b, 0);
        ok(ir_read(&b.run, 0, &value[i]));
        close_graph(&b);
    }
    assert_true(value[0] == value[1]);
    assert_true(value[0] != value[2]);
    built b;
    double nll[ROWS], logits[ROWS * VOCAB], loss;
    open_graph(&l, &b);
    dart_node eval = dart_model_loss(l.model, b.graph, &b.leaves, false, 0, NULL);
    run_graph(&l, &b, 1, &eval);
    ok(ir_read(&b.run, 0, &loss));
    assert_true(fabs(loss - plain_model(&l, nll, logits)) < TOLERANCE);
    close_graph(&b);
    lab_close(&l);
}

/* Parameters do not overlap, decayed ones come first, counts add up, names are unique. */
static void layout_is_sound(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        dart_model *m;
        ok(dart_model_new(&config, NULL, &m));
        uint64_t total = 0, sum, compressed, dense, expected_dense = 0;
        for (uint32_t p = 0; p < m->params; p++) {
            const dart_param *a = &m->param[p];
            uint64_t words = dart_shape_words(&a->shape);
            bool trained = a->region == DART_REGION_PARAM;
            total += words;
            assert_int_equal(a->offset % 64, 0);
            assert_true(a->offset + words <= (trained ? m->param_words : m->frozen_words));
            if (trained) assert_int_equal(a->decay, a->offset + words <= m->decay_words);
            if (trained) assert_true(a->decay || a->offset >= m->decay_words);
            for (uint32_t q = 0; q < p; q++) {
                const dart_param *b = &m->param[q];
                assert_string_not_equal(a->name, b->name);
                if (a->region != b->region) continue;
                assert_true(a->offset + words <= b->offset ||
                            b->offset + dart_shape_words(&b->shape) <= a->offset);
            }
        }
        for (uint32_t w = 0; w < m->weights; w++)
            if (m->weight[w].compressed)
                expected_dense += (uint64_t)m->weight[w].weight.out * m->weight[w].weight.in;
        dart_model_count(m, &sum, &compressed, &dense);
        assert_int_equal(sum, total);
        assert_int_equal(dense, expected_dense);
        assert_true(compressed <= total);

        float *param = malloc(m->param_words * sizeof *param);
        float *frozen = malloc((m->frozen_words + 1) * sizeof *frozen);
        ok(dart_model_init(m, 4, param, frozen));
        const dart_param *q = &m->param[m->weight[m->block[0].attn.q].first_param];
        const float *at = (q->region == DART_REGION_PARAM ? param : frozen) + q->offset;
        double square = 0;
        uint64_t words = dart_shape_words(&q->shape);
        for (uint64_t i = 0; i < words; i++) square += at[i] * at[i];
        assert_true(fabs(sqrt(square / words) / q->std - 1) < 0.6); /* a few dozen draws */
        assert_true(param[m->param[m->norm_w].offset] == 1.0f);
        free(param);
        free(frozen);
        dart_model_free(m);
    }
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    dart_model *m = NULL;
    dart_model_config c = base_config();
    c.heads = 3;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    c = base_config();
    c.kv_heads = 0;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    c = base_config();
    c.d_ff = 11; /* a prime: does not factor into two modes */
    role_set(&c, LINEAR, "tt");
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "11"));
    c = base_config();
    role_set(&c, LINEAR, "tt");
    c.role[LINEAR].rank = 4000;
    c.strict_rank = true;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    c.strict_rank = false;
    ok(dart_model_new(&c, NULL, &m));
    dart_graph *graph;
    dart_model_leaves leaves;
    ok(dart_graph_new(&graph));
    assert_int_equal(dart_model_leaves_new(m, graph, 1, 7, &leaves), DART_INPUT);
    dart_graph_free(graph);
    dart_model_free(m);
}

/* Every weight's chain as a stack of its own. */
static uint32_t single_stacks(const lab *l, const built *b, dart_chain_stack *out)
{
    const dart_model *m = l->model;
    uint32_t count = 0;
    for (uint32_t w = 0; w < m->weights; w++) {
        dart_node core[DART_MAX_CORES];
        uint32_t cores = dart_model_chain(m, b->graph, &b->leaves, w, core);
        if (cores < 2) continue;
        out[count] = (dart_chain_stack){.count = 1, .cores = cores};
        for (uint32_t k = 0; k < cores; k++) {
            const dart_shape *s = &dart_node_get(b->graph, core[k])->shape;
            dart_shape shape = DART_SHAPE(1, s->dim[0], s->dim[1], s->dim[2]);
            const dart_param *param =
                &m->param[m->weight[w].first_param + m->weight[w].layout.chain_first + k];
            out[count].core[k] = dart_reshape(b->graph, core[k], shape);
            out[count].gradient[k] =
                dart_leaf(b->graph, "penalty", DART_F32, shape, DART_REGION_PENALTY, param->offset);
        }
        count++;
    }
    return count;
}

/* Penalty gradients (param_words) and the penalty itself behind them. */
static double *penalty_of(lab *l, const dart_reg *reg, bool single, bool pad, uint32_t *out_largest)
{
    const dart_model *m = l->model;
    dart_chain_stack *stack = calloc(m->weights, sizeof *stack);
    double *result = calloc(m->param_words + 1, sizeof *result);
    const uint64_t at = dart_model_chains_at(m), words = l->data.words[DART_REGION_TABLE];
    uint64_t floats = 0, ints = 0;
    uint32_t count;
    dart_node value;
    built b;
    ok(dart_model_chains_size(m, &floats, &ints));
    float *f = calloc(floats + 1, sizeof *f);
    int32_t *i = calloc(ints + 1, sizeof *i);
    open_graph(l, &b);
    if (single)
        count = single_stacks(l, &b, stack);
    else
        ok(dart_model_chains(m, b.graph, pad, stack, &count));
    *out_largest = 0;
    for (uint32_t s = 0; s < count; s++)
        if (stack[s].count > *out_largest) *out_largest = stack[s].count;
    const dart_options options = penalty_values(reg, &(penalty_options){.p = 0.5});
    ok(dart_penalty_append(b.graph, reg, &options, count, stack, &value));
    if (pad) l->data.words[DART_REGION_TABLE] = at + floats + ints;
    ok(dart_graph_check(b.graph));
    ok(ir_prepare(&b.run, device, b.graph, &l->data, 1, &value));
    if (pad) {
        ok(dart_model_chains_table(m, f, i));
        ok(dart_device_write_f32(device, b.run.memory.buffer[DART_REGION_TABLE], at, floats, f));
        ok(dart_device_write_i32(
            device, b.run.memory.buffer[DART_REGION_TABLE], at + floats, ints, i));
    }
    ok(dart_exec_run(b.run.exec, NULL));
    ok(ir_read(&b.run, 0, &result[m->param_words]));
    ok(ir_read_region(&b.run, DART_REGION_PENALTY, result));
    l->data.words[DART_REGION_TABLE] = words;
    close_graph(&b);
    free(stack);
    free(f);
    free(i);
    return result;
}

/* The next penalty that has a graph, from row *at of the table on; NULL: there is none. */
static const dart_reg *penalty_at(uint32_t *at)
{
    const dart_reg *reg;
    while ((reg = dart_reg_at((*at)++)) != NULL)
        if (reg->penalty) return reg;
    return NULL;
}

/* Stacks of equally shaped layers give the same penalty gradient as one weight at a time. */
static void stacked_penalty_equals_single(void **state)
{
    (void)state;
    dart_model_config config = config_at(1);
    lab l;
    lab_open(&l, &config);
    uint32_t largest, alone, at = 0;
    const dart_reg *reg;
    while ((reg = penalty_at(&at)) != NULL) {
        double *stacked = penalty_of(&l, reg, false, false, &largest);
        double *single = penalty_of(&l, reg, true, false, &alone);
        assert_true(largest >= 8 && alone == 1); /* q, k, v, o of two layers and more */
        for (uint64_t i = 0; i <= l.model->param_words; i++)
            assert_true(fabs(stacked[i] - single[i]) <= 1e-9 * (1 + fabs(single[i])));
        free(stacked);
        free(single);
    }
    lab_close(&l);
}

/* Weights of unequal ranks, padded to the largest: the same again, for every penalty and method. */
static void padded_penalty_equals_single(void **state)
{
    (void)state;
    static const int configs[] = {1, 2, 3};
    for (size_t c = 0; c < sizeof configs / sizeof *configs; c++) {
        dart_model_config config = config_at(configs[c]);
        config.role[LINEAR].rank = 4; /* 4 and 3 are padded to 4 */
        lab l;
        lab_open(&l, &config);
        uint32_t(*ranks)[DART_MAX_CORES + 1] = calloc(l.model->weights, sizeof *ranks);
        uint32_t largest, alone, at = 0, unequal = 0;
        for (uint32_t w = 0; w < l.model->weights; w++) {
            const dart_model_weight *weight = &l.model->weight[w];
            const uint32_t cores = weight->layout.chain_cores;
            for (uint32_t k = 0; weight->layout.bonds && k <= cores; k++) {
                ranks[w][k] = weight->weight.ranks[k];
                if (k == 0 || k == cores || (w + k) % 3 || ranks[w][k] < 2) continue;
                ranks[w][k]--;
                unequal++;
            }
        }
        assert_true(unequal > 2);
        lab_close(&l);
        lab_open_at(&l, &config, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks);
        const dart_reg *reg;
        while ((reg = penalty_at(&at)) != NULL) {
            double *equal = penalty_of(&l, reg, false, false, &largest); /* equal ranks only */
            double *padded = penalty_of(&l, reg, false, true, &largest);
            double *single = penalty_of(&l, reg, true, false, &alone), worst = 0;
            for (uint64_t i = 0; i <= l.model->param_words; i++) {
                worst = fmax(worst, fabs(padded[i] - single[i]) / (1 + fabs(single[i])));
                worst = fmax(worst, fabs(equal[i] - single[i]) / (1 + fabs(single[i])));
            }
            print_message(
                "%s, stacks of up to %u: padded differs by %.1e\n", reg->name, largest, worst);
            assert_true(largest >= 4 && worst <= 1e-9);
            free(equal);
            free(padded);
            free(single);
        }
        free(ranks);
        lab_close(&l);
    }
}

static void adamw_equals_the_formula(void **state)
{
    (void)state;
    enum { N = 192, DECAYED = 64 };
    const dart_optim *adamw = dart_optim_find("adamw");
    const dart_options o = adamw_values(0.9, 0.99, 1e-8, 0.1);
    ir_data data = {0};
    const int regions[] = {DART_REGION_PARAM, DART_REGION_GRAD, DART_REGION_MOMENT};
    for (int r = 0; r < 3; r++) {
        data.words[regions[r]] = r == 2 ? 2 * N : N;
        data.region[regions[r]] = calloc(2 * N, sizeof(double));
        for (int i = 0; i < (r == 2 ? 2 * N : N); i++)
            data.region[regions[r]][i] =
                r == 2 ? 0.01 * i : dart_normal(2, DART_STREAM_TEST + r, i);
    }
    double fscal[16] = {0.01, 1 / (1 - 0.9), 1 / (1 - 0.99), 7, 0.5};
    data.words[DART_REGION_FSCAL] = 16;
    data.region[DART_REGION_FSCAL] = fscal;
    dart_graph *graph;
    ir_run run;
    double param[N], moment[2 * N], after[16], square = 0;
    ok(dart_graph_new(&graph));
    ok(adamw->append(
        graph, &(dart_optim_span){.param_words = N, .decay_words = DECAYED, .max_norm = 1}, &o));
    ok(ir_prepare(&run, device, graph, &data, 0, NULL));
    ok(dart_exec_run(run.exec, NULL));
    ok(ir_read_region(&run, DART_REGION_PARAM, param));
    ok(ir_read_region(&run, DART_REGION_MOMENT, moment));
    ok(ir_read_region(&run, DART_REGION_FSCAL, after));
    const double *g = data.region[DART_REGION_GRAD], *m = data.region[DART_REGION_MOMENT];
    for (int i = 0; i < N; i++) square += g[i] * g[i];
    double norm = sqrt(square) * 0.5, scale = 0.5 / (norm + 1e-6);
    assert_true(norm > 1);
    assert_true(fabs(after[5] - norm) < 1e-9 && fabs(after[3] / scale - 1) < 1e-6);
    for (int i = 0; i < N; i++) {
        double first = 0.9 * m[i] + 0.1 * scale * g[i];
        double second = 0.99 * m[N + i] + 0.01 * scale * g[i] * scale * g[i];
        double p = data.region[DART_REGION_PARAM][i];
        p -= 0.01 *
             (first / (1 - 0.9) / (sqrt(second / (1 - 0.99)) + 1e-8) + (i < DECAYED ? 0.1 * p : 0));
        assert_true(fabs(moment[i] - first) < 1e-6 * (1 + fabs(first)));
        assert_true(fabs(moment[N + i] - second) < 1e-6 * (1 + fabs(second)));
        assert_true(fabs(param[i] - p) < 1e-6 * (1 + fabs(p)));
    }
    ir_run_free(&run);
    dart_graph_free(graph);
    for (int r = 0; r < 3; r++) free(data.region[regions[r]]);
}

static int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &device) == DART_OK ? 0 : -1;
}

static int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layout_is_sound),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(loss_equals_the_plain_transformer),
        cmocka_unit_test(gradients_match_differences), cmocka_unit_test(dropout_follows_the_step),
        cmocka_unit_test(logits_come_in_chunks), cmocka_unit_test(stacked_penalty_equals_single),
        cmocka_unit_test(padded_penalty_equals_single), cmocka_unit_test(adamw_equals_the_formula)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
