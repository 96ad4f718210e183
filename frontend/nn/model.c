/* A model's parameters: which weights and vectors it has, where they lie in the flat regions,
 * initial values. */
#include "model.h"
#include "rng.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, WEIGHTS_A_BLOCK = 7, VECTORS_A_BLOCK = 11 };

/* Weights get GPT-2's standard deviation at GPT-2's width, scaled like 1/sqrt(inputs) elsewhere;
 * the two projections that write into the residual stream are divided by sqrt(2 layers) (Radford et
 * al. 2019). */
static const double BASE_STD = 0.02, GPT2_WIDTH = 768.0;

typedef struct builder {
    dart_model *model;
    const uint32_t (*ranks)[DART_MAX_CORES + 1];
    dart_status status; /* the first failure; later calls do nothing */
} builder;

static dart_param *new_param(builder *b)
{
    dart_param *param = &b->model->param[b->model->params++];
    param->weight = param->tensor = -1;
    return param;
}

static int add_vector(builder *b, uint32_t size, bool ones, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int add_vector(builder *b, uint32_t size, bool ones, const char *format, ...)
{
    va_list args;
    dart_param *param = new_param(b);
    va_start(args, format);
    vsnprintf(param->name, sizeof param->name, format, args);
    va_end(args);
    param->shape = DART_SHAPE(size);
    param->region = DART_REGION_PARAM;
    param->ones = ones;
    return (int)(param - b->model->param);
}

static void add_tensors(builder *b, dart_model_weight *w)
{
    int index = (int)(w - b->model->weight);
    w->first_param = b->model->params;
    for (uint32_t i = 0; i < w->layout.tensors; i++) {
        const dart_tensor *tensor = &w->layout.tensor[i];
        dart_param *param = new_param(b);
        snprintf(param->name, sizeof param->name, "%s.%s", w->weight.name, tensor->name);
        param->shape = tensor->shape;
        param->region = tensor->frozen ? DART_REGION_FROZEN : DART_REGION_PARAM;
        param->std = tensor->std;
        param->decay = !tensor->frozen;
        param->weight = index;
        param->tensor = (int)i;
    }
}

/* `from` carries method, rank, modes, sizes and target_std; the name is completed here. */
static int add_weight(builder *b, dart_weight from, bool may_pad, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int add_weight(builder *b, dart_weight from, bool may_pad, const char *format, ...)
{
    va_list args;
    if (b->status != DART_OK) return -1;
    dart_model *model = b->model;
    dart_model_weight *w = &model->weight[model->weights];
    va_start(args, format);
    vsnprintf(from.name, sizeof from.name, format, args);
    va_end(args);
    if (!from.method) {
        b->status = dart_fail(DART_INPUT, "weight %s has no method", from.name);
        return -1;
    }
    from.pad_out = may_pad;
    from.alpha = model->config.lora_alpha;
    if (b->ranks) memcpy(from.ranks, b->ranks[model->weights], sizeof from.ranks);
    w->weight = from;
    b->status = from.method->layout(&w->weight, model->config.strict_rank, &w->layout);
    if (b->status != DART_OK) return -1;
    if (w->layout.padded_out != from.out && !may_pad) {
        b->status = dart_fail(DART_INPUT,
            "weight %s: method %s pads %u outputs to %u, which only a vocabulary may be: use "
            "another method",
            from.name, from.method->name, from.out, w->layout.padded_out);
        return -1;
    }
    w->compressed = from.method != dart_method_find("dense");
    add_tensors(b, w);
    return (int)model->weights++;
}

static int add_linear(builder *b, uint32_t layer, const char *name, uint32_t out, uint32_t in,
    bool residual, int *out_bias)
{
    const dart_model_config *c = &b->model->config;
    double std = BASE_STD * sqrt(GPT2_WIDTH / in);
    if (residual) std /= sqrt(2.0 * c->layers);
    dart_weight from = {.out = out,
        .in = in,
        .target_std = std,
        .method = c->linear,
        .rank = c->linear_rank,
        .modes = c->linear_modes};
    int weight = add_weight(b, from, false, "blocks.%u.%s", layer, name);
    if (b->status == DART_OK && c->bias)
        *out_bias = add_vector(b, out, false, "blocks.%u.%s.bias", layer, name);
    return weight;
}

static void add_norm(builder *b, const char *name, int *out_w, int *out_b)
{
    uint32_t d = b->model->config.d_model;
    *out_w = add_vector(b, d, true, "%s.weight", name);
    if (!b->model->config.rmsnorm) *out_b = add_vector(b, d, false, "%s.bias", name);
}

static void add_block(builder *b, uint32_t layer)
{
    const dart_model_config *c = &b->model->config;
    dart_model_block *block = &b->model->block[layer];
    uint32_t d = c->d_model, kv = d / c->heads * c->kv_heads;
    char name[64];
    *block =
        (dart_model_block){-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    snprintf(name, sizeof name, "blocks.%u.norm1", layer);
    add_norm(b, name, &block->norm1_w, &block->norm1_b);
    block->q = add_linear(b, layer, "attn.q", d, d, false, &block->q_bias);
    block->k = add_linear(b, layer, "attn.k", kv, d, false, &block->k_bias);
    block->v = add_linear(b, layer, "attn.v", kv, d, false, &block->v_bias);
    block->o = add_linear(b, layer, "attn.o", d, d, true, &block->o_bias);
    snprintf(name, sizeof name, "blocks.%u.norm2", layer);
    add_norm(b, name, &block->norm2_w, &block->norm2_b);
    if (c->act == 2)
        block->gate = add_linear(b, layer, "mlp.gate", c->d_ff, d, false, &block->gate_bias);
    block->up = add_linear(b, layer, "mlp.up", c->d_ff, d, false, &block->up_bias);
    block->down = add_linear(b, layer, "mlp.down", d, c->d_ff, true, &block->down_bias);
}

static dart_status check_config(const dart_model_config *c)
{
    if (!c->layers || !c->d_model || !c->heads || !c->d_ff || !c->context || !c->vocab)
        return dart_fail(DART_INPUT,
            "model: layers, d_model, heads, d_ff, context and vocabulary must all be above 0");
    if (c->d_model % c->heads)
        return dart_fail(DART_INPUT, "model: d_model %u is not a multiple of its %u heads",
            c->d_model, c->heads);
    if (!c->kv_heads || c->heads % c->kv_heads)
        return dart_fail(DART_INPUT, "model: %u key/value heads do not divide the %u heads evenly",
            c->kv_heads, c->heads);
    if (c->rope && c->d_model / c->heads % 2)
        return dart_fail(DART_INPUT,
            "model: rotary positions need an even head size, got %u (d_model %u / heads %u)",
            c->d_model / c->heads, c->d_model, c->heads);
    if (c->act < 0 || c->act > 2)
        return dart_fail(DART_INPUT, "model: activation %d, expected 0, 1 or 2", c->act);
    if (!(c->dropout >= 0.0 && c->dropout < 1.0))
        return dart_fail(DART_INPUT, "model: dropout %g, expected in [0, 1)", c->dropout);
    return DART_OK;
}

/* Two weights whose tensors can be stacked: all shapes equal. */
static bool same_layout(const dart_model_weight *a, const dart_model_weight *b)
{
    if (a->weight.method != b->weight.method || a->layout.tensors != b->layout.tensors)
        return false;
    for (uint32_t i = 0; i < a->layout.tensors; i++)
        if (!dart_shape_equal(&a->layout.tensor[i].shape, &b->layout.tensor[i].shape)) return false;
    return true;
}

static dart_status place(dart_param *param, uint64_t *at)
{
    uint64_t words = dart_shape_words(&param->shape);
    param->offset = *at;
    if (!dart_add_u64(*at, words, at) || *at > UINT64_MAX - ALIGN)
        return dart_fail(DART_MEMORY, "model: parameter %s does not fit", param->name);
    *at = dart_round_up(*at, ALIGN);
    return DART_OK;
}

/* Offsets. Inside PARAM: decayed first; the i-th tensors of equally shaped weights lie side by
 * side, so that one leaf can view them all as a stack (dart_model_chains). */
static dart_status place_all(dart_model *model)
{
    bool *placed = dart_calloc(model->params, sizeof *placed);
    if (!placed) return DART_MEMORY;
    dart_status status = DART_OK;
    for (int pass = 0; pass < 3; pass++) { /* decayed, not decayed, frozen */
        for (uint32_t p = 0; p < model->params; p++) {
            dart_param *param = &model->param[p];
            bool frozen = param->region == DART_REGION_FROZEN;
            int belongs = frozen ? 2 : param->decay ? 0 : 1;
            uint64_t *at = frozen ? &model->frozen_words : &model->param_words;
            if (placed[p] || belongs != pass) continue;
            placed[p] = true;
            DART_GOTO(place(param, at));
            for (uint32_t w = param->weight >= 0 ? (uint32_t)param->weight + 1 : model->weights;
                 w < model->weights; w++) {
                uint32_t q = model->weight[w].first_param + (uint32_t)param->tensor;
                if (!same_layout(&model->weight[param->weight], &model->weight[w]) || placed[q])
                    continue;
                placed[q] = true;
                DART_GOTO(place(&model->param[q], at));
            }
        }
        if (pass == 0) model->decay_words = model->param_words;
    }
done:
    free(placed);
    return status;
}

dart_status dart_model_new(const dart_model_config *config,
    const uint32_t (*ranks)[DART_MAX_CORES + 1], dart_model **out_model)
{
    DART_TRY(check_config(config));
    dart_model *model = dart_calloc(1, sizeof *model);
    if (!model) return DART_MEMORY;
    builder b = {model, ranks, DART_OK};
    const dart_model_config *c = &model->config;
    size_t weights = (size_t)config->layers * WEIGHTS_A_BLOCK + 2;
    size_t params = weights * (DART_MAX_CORES + 2) + (size_t)config->layers * VECTORS_A_BLOCK + 3;
    model->config = *config;
    model->weight = dart_calloc(weights, sizeof *model->weight);
    model->param = dart_calloc(params, sizeof *model->param);
    model->block = dart_calloc(config->layers, sizeof *model->block);
    if (!model->weight || !model->param || !model->block) {
        dart_model_free(model);
        return DART_MEMORY;
    }
    model->positions = model->norm_b = -1;
    model->embedding = add_weight(&b,
        (dart_weight){.out = c->vocab,
            .in = c->d_model,
            .target_std = BASE_STD,
            .method = c->embedding,
            .rank = c->embedding_rank,
            .modes = c->embedding_modes},
        true, "tok_emb");
    if (b.status == DART_OK && !c->rope) {
        model->positions = add_vector(&b, c->d_model, false, "pos_emb.weight");
        dart_param *param = &model->param[model->positions];
        param->shape = DART_SHAPE(c->context, c->d_model);
        param->std = BASE_STD;
        param->decay = true;
    }
    for (uint32_t layer = 0; layer < c->layers && b.status == DART_OK; layer++)
        add_block(&b, layer);
    if (b.status == DART_OK) add_norm(&b, "norm_f", &model->norm_w, &model->norm_b);
    model->head = model->embedding;
    if (!c->tied)
        model->head = add_weight(&b,
            (dart_weight){.out = c->vocab,
                .in = c->d_model,
                .target_std = BASE_STD,
                .method = c->head,
                .rank = c->head_rank,
                .modes = c->head_modes},
            true, "head");
    if (b.status == DART_OK) b.status = place_all(model);
    if (c->rope) model->table_words = (uint64_t)c->context * (c->d_model / c->heads);
    if (b.status != DART_OK) {
        dart_model_free(model);
        return b.status;
    }
    *out_model = model;
    return DART_OK;
}

void dart_model_free(dart_model *model)
{
    if (!model) return;
    free(model->weight);
    free(model->param);
    free(model->block);
    free(model);
}

void dart_model_init(const dart_model *model, uint64_t seed, float *param, float *frozen)
{
    memset(param, 0, (size_t)model->param_words * sizeof *param);
    if (model->frozen_words) memset(frozen, 0, (size_t)model->frozen_words * sizeof *frozen);
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *info = &model->param[p];
        float *to = (info->region == DART_REGION_FROZEN ? frozen : param) + info->offset;
        uint64_t words = dart_shape_words(&info->shape);
        uint64_t stream = DART_STREAM_INIT | (uint64_t)(p + 1) << 32;
        for (uint64_t i = 0; i < words; i++)
            to[i] = info->ones        ? 1.0f
                    : info->std > 0.0 ? (float)(info->std * dart_normal(seed, stream, i))
                                      : 0.0f;
    }
}

void dart_model_table(const dart_model *model, float *table)
{
    const dart_model_config *c = &model->config;
    uint32_t half = c->d_model / c->heads / 2;
    if (!c->rope) return;
    for (uint32_t t = 0; t < c->context; t++)
        for (uint32_t i = 0; i < half; i++) {
            double angle = t * pow(10000.0, -(double)i / half);
            table[((size_t)t * half + i) * 2] = (float)cos(angle);
            table[((size_t)t * half + i) * 2 + 1] = (float)sin(angle);
        }
}

void dart_model_count(
    const dart_model *model, uint64_t *out_total, uint64_t *out_compressed, uint64_t *out_dense)
{
    *out_total = *out_compressed = *out_dense = 0;
    for (uint32_t p = 0; p < model->params; p++)
        *out_total += dart_shape_words(&model->param[p].shape);
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (!weight->compressed) continue;
        *out_compressed +=
            dart_layout_words(&weight->layout, false) + dart_layout_words(&weight->layout, true);
        *out_dense += (uint64_t)weight->weight.out * weight->weight.in;
    }
}

void dart_model_input_offsets(const dart_model *model, uint32_t batch, uint32_t time,
    uint64_t *out_tokens, uint64_t *out_labels, uint64_t *out_index)
{
    uint64_t rows = dart_round_up((uint64_t)batch * time, ALIGN);
    (void)model;
    *out_tokens = 0;
    *out_labels = rows;
    *out_index = 2 * rows;
}

uint64_t dart_model_input_words(const dart_model *model, uint32_t batch, uint32_t time)
{
    uint64_t tokens, labels, index;
    dart_model_input_offsets(model, batch, time, &tokens, &labels, &index);
    return index + dart_round_up((uint64_t)model->config.vocab + 1 + (uint64_t)batch * time, ALIGN);
}

/* Rank axis of tensor shapes brought to (r, n, r'): LoRA's factors lack an end, TT-matrix cores
 * have two digits. */
static dart_shape core_shape(const dart_layout *layout, uint32_t k)
{
    const dart_shape *s = &layout->tensor[layout->chain_first + k].shape;
    if (s->rank == 2)
        return k == 0 ? DART_SHAPE(1, s->dim[0], s->dim[1]) : DART_SHAPE(s->dim[0], s->dim[1], 1);
    if (s->rank == 4) return DART_SHAPE(s->dim[0], s->dim[1] * s->dim[2], s->dim[3]);
    return *s;
}

uint32_t dart_model_chain(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t weight, dart_node out[DART_MAX_CORES])
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t k = 0; k < w->layout.chain_cores; k++)
        out[k] = dart_reshape(graph, leaves->param[w->first_param + w->layout.chain_first + k],
            core_shape(&w->layout, k));
    return w->layout.chain_cores;
}

/* Equal shapes lie side by side with one stride: true unless weights of the group were placed
 * apart. */
static bool stackable(const dart_model *model, const uint32_t *index, uint32_t count)
{
    const dart_model_weight *first = &model->weight[index[0]];
    for (uint32_t i = first->layout.chain_first;
         i < first->layout.chain_first + first->layout.chain_cores; i++) {
        const dart_param *base = &model->param[first->first_param + i];
        uint64_t stride = dart_round_up(dart_shape_words(&base->shape), ALIGN);
        for (uint32_t k = 0; k < count; k++)
            if (model->param[model->weight[index[k]].first_param + i].offset !=
                base->offset + k * stride)
                return false;
    }
    return true;
}

/* The leaf over the cores of `count` weights is (count, stride) with gaps where a core is not a
 * multiple of the alignment; the gaps are cut off through a transpose. */
static dart_node stack_cores(
    dart_graph *graph, const dart_param *param, dart_shape one, uint32_t count)
{
    uint32_t words = (uint32_t)dart_shape_words(&one);
    uint32_t stride = count == 1 ? words : (uint32_t)dart_round_up(words, ALIGN);
    dart_node all = dart_leaf(
        graph, param->name, DART_F32, DART_SHAPE(count, stride), DART_REGION_PARAM, param->offset);
    if (stride != words) {
        const uint32_t swap[] = {1, 0};
        all = dart_permute(
            graph, dart_slice_rows(graph, dart_permute(graph, all, swap), 0, words), swap);
    }
    return dart_reshape(graph, all, DART_SHAPE(count, one.dim[0], one.dim[1], one.dim[2]));
}

dart_status dart_model_chains(
    const dart_model *model, dart_graph *graph, dart_chain_stack *out, uint32_t *out_count)
{
    dart_status status = DART_OK;
    uint32_t stacks = 0;
    uint32_t *index = dart_calloc(model->weights, sizeof *index);
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    if (!index || !taken) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *first = &model->weight[w];
        if (taken[w] || first->layout.bonds == 0) continue;
        uint32_t count = 0;
        for (uint32_t v = w; v < model->weights; v++)
            if (!taken[v] && same_layout(first, &model->weight[v])) index[count++] = v;
        if (!stackable(model, index, count)) count = 1;
        dart_chain_stack *stack = &out[stacks++];
        stack->count = count;
        stack->cores = first->layout.chain_cores;
        for (uint32_t k = 0; k < count; k++) taken[index[k]] = true;
        for (uint32_t k = 0; k < stack->cores; k++) {
            const dart_param *param =
                &model->param[first->first_param + first->layout.chain_first + k];
            dart_shape one = core_shape(&first->layout, k);
            uint64_t words = dart_shape_words(&one);
            uint64_t stride = count == 1 ? words : dart_round_up(words, ALIGN);
            stack->core[k] = stack_cores(graph, param, one, count);
            stack->gradient[k] = dart_leaf(graph, param->name, DART_F32,
                DART_SHAPE(count, (uint32_t)stride), DART_REGION_PENALTY, param->offset);
        }
    }
    *out_count = stacks;
done:
    free(index);
    free(taken);
    return status;
}
