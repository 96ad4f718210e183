/* A model's parameters: which weights and vectors it has, where they lie in the flat regions,
 * initial values. */
#include "gates.h"
#include "layers.h"
#include "rng.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* At most, with cross-attention and adapters. */
enum { VECTORS_A_BLOCK = 25 };

/* Weights get GPT-2's standard deviation at GPT-2's width, scaled like 1/sqrt(inputs) elsewhere;
 * the two projections that write into the residual stream are divided by sqrt(2 layers) (Radford et
 * al. 2019). */
static const double BASE_STD = 0.02, GPT2_WIDTH = 768.0;

static const double PI = 3.14159265358979323846;

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
    param->region = b->model->config.frozen_vectors ? DART_REGION_FROZEN : DART_REGION_PARAM;
    param->of_base = b->model->config.of_base && param->region == DART_REGION_FROZEN;
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
        param->of_base = b->model->config.of_base && tensor->frozen;
        if (param->of_base && tensor->shape.rank == 2 && index < DART_MAX_WEIGHTS)
            param->type = (dart_dtype)b->model->config.base_type[index];
        param->std = tensor->std;
        param->decay = !tensor->frozen && tensor->shape.rank > 1;
        param->weight = index;
        param->tensor = (int)i;
    }
}

/* `from` carries sizes and target_std; name and role are completed here. */
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
    const dart_role *role = dart_model_role(&model->config, from.name);
    if (!role || !role->method) {
        b->status = dart_fail(DART_INPUT,
            role ? "weight %s has no method" : "weight %s has no method: no pattern fits its name",
            from.name);
        return -1;
    }
    from.method = role->method;
    from.rank = role->rank;
    from.modes = role->modes;
    memcpy(from.out_modes, role->out_modes, sizeof from.out_modes);
    memcpy(from.in_modes, role->in_modes, sizeof from.in_modes);
    from.options = role->options;
    from.pad_out = may_pad;
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
    w->compressed = w->layout.chain_cores > 0;
    add_tensors(b, w);
    return (int)model->weights++;
}

/* Where a block stands: its name, and how many sub-layers write into its residual stream. */
typedef struct block_place {
    const char *side;
    uint32_t layer, residuals;
} block_place;

static int add_linear(builder *b, const block_place *at, const char *name, uint32_t out,
    uint32_t in, bool residual, bool with_qkv, int *out_bias)
{
    const dart_model_config *c = &b->model->config;
    double std = BASE_STD * sqrt(GPT2_WIDTH / in);
    if (residual) std /= sqrt((double)at->residuals);
    dart_weight from = {.out = out, .in = in, .target_std = std};
    int weight = add_weight(b, from, false, "%s.%u.%s", at->side, at->layer, name);
    const bool has = c->bias == DART_ALL_BIAS || (c->bias == DART_QKV_BIAS && with_qkv);
    if (b->status == DART_OK && has)
        *out_bias = add_vector(b, out, false, "%s.%u.%s.bias", at->side, at->layer, name);
    return weight;
}

static void add_norm(builder *b, int *out_w, int *out_b, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add_norm(builder *b, int *out_w, int *out_b, const char *format, ...)
{
    uint32_t d = b->model->config.d_model;
    char name[64];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    *out_w = add_vector(b, d, true, "%s.weight", name);
    if (b->model->config.norm.kind != DART_RMS_NORM)
        *out_b = add_vector(b, d, false, "%s.bias", name);
}

/* `name`: "attn" or "cross". */
static void add_attention(
    builder *b, const block_place *at, const char *name, dart_model_attention *out)
{
    const dart_model_config *c = &b->model->config;
    const uint32_t d = c->d_model, size = dart_head_dim(c);
    const uint32_t mixed = size * c->heads, kv = size * c->kv_heads;
    const struct {
        const char *letter;
        uint32_t out, in;
        int *weight, *bias;
    } parts[] = {{"q", mixed, d, &out->q, &out->q_bias}, {"k", kv, d, &out->k, &out->k_bias},
        {"v", kv, d, &out->v, &out->v_bias}, {"o", d, mixed, &out->o, &out->o_bias}};
    for (int i = 0; i < 4; i++) {
        char full[16];
        snprintf(full, sizeof full, "%s.%s", name, parts[i].letter);
        *parts[i].weight =
            add_linear(b, at, full, parts[i].out, parts[i].in, i == 3, i < 3, parts[i].bias);
    }
    if (!c->qk_norm || b->status != DART_OK) return;
    out->q_norm = add_vector(b, size, true, "%s.%u.%s.q_norm", at->side, at->layer, name);
    out->k_norm = add_vector(b, size, true, "%s.%u.%s.k_norm", at->side, at->layer, name);
}

/* What is added behind a sub-layer and is trained, whatever is frozen: at first it adds nothing. */
static void add_adapter(
    builder *b, const block_place *at, const char *name, dart_model_adapter *out)
{
    const uint32_t d = b->model->config.d_model, width = b->model->config.adapter;
    const struct {
        const char *name;
        dart_weight weight;
        int *index, *bias;
    } parts[] = {
        {"down", {.out = width, .in = d, .target_std = 1 / sqrt(d)}, &out->down, &out->down_bias},
        {"up", {.out = d, .in = width, .target_std = 0}, &out->up, &out->up_bias}};
    for (int i = 0; i < 2; i++) {
        const uint32_t first = b->model->params;
        *parts[i].index = add_weight(b, parts[i].weight, false, "%s.%u.%s.adapter.%s", at->side,
            at->layer, name, parts[i].name);
        if (b->status != DART_OK) return;
        b->model->weight[*parts[i].index].added = true;
        *parts[i].bias = add_vector(b, parts[i].weight.out, false, "%s.%u.%s.adapter.%s.bias",
            at->side, at->layer, name, parts[i].name);
        b->model->param[*parts[i].bias].region = DART_REGION_PARAM;
        for (uint32_t p = first; p < b->model->params; p++) {
            b->model->param[p].of_base = false;
            b->model->param[p].added = true;
        }
    }
}

static void add_block(builder *b, const block_place *at, bool cross, dart_model_block *block)
{
    const dart_model_config *c = &b->model->config;
    uint32_t d = c->d_model;
    memset(block, 0xff, sizeof *block); /* -1 everywhere */
    add_norm(b, &block->norm1_w, &block->norm1_b, "%s.%u.norm1", at->side, at->layer);
    add_attention(b, at, "attn", &block->attn);
    if (cross) {
        add_norm(
            b, &block->cross_norm_w, &block->cross_norm_b, "%s.%u.norm_cross", at->side, at->layer);
        add_attention(b, at, "cross", &block->cross);
    }
    add_norm(b, &block->norm2_w, &block->norm2_b, "%s.%u.norm2", at->side, at->layer);
    if (c->act == DART_ACT_SWIGLU)
        block->gate = add_linear(b, at, "mlp.gate", c->d_ff, d, false, false, &block->gate_bias);
    block->up = add_linear(b, at, "mlp.up", c->d_ff, d, false, false, &block->up_bias);
    block->down = add_linear(b, at, "mlp.down", d, c->d_ff, true, false, &block->down_bias);
    if (!c->adapter) return;
    add_adapter(b, at, "attn", &block->attn_adapter);
    add_adapter(b, at, "mlp", &block->mlp_adapter);
}

static int add_table(builder *b, uint32_t vocab, const char *name)
{
    const dart_model_config *c = &b->model->config;
    const dart_weight from = {.out = vocab, .in = c->d_model, .target_std = BASE_STD};
    return add_weight(b, from, true, "%s", name);
}

static int add_positions(builder *b, uint32_t context, const char *name)
{
    if (b->status != DART_OK || b->model->config.positions.kind != DART_LEARNED) return -1;
    int index = add_vector(b, context, false, "%s", name);
    dart_param *param = &b->model->param[index];
    param->shape = DART_SHAPE(context, b->model->config.d_model);
    param->std = BASE_STD;
    param->decay = true;
    return index;
}

/* What an encoder-decoder has before its decoder: the source's table, positions, encoder blocks. */
static void add_encoder(builder *b)
{
    dart_model *model = b->model;
    const dart_model_config *c = &model->config;
    model->source_embedding = model->embedding;
    if (!c->shared_vocab) model->source_embedding = add_table(b, c->source_vocab, "src_emb");
    model->source_positions = add_positions(b, c->source_context, "src_pos_emb.weight");
    for (uint32_t layer = 0; layer < c->enc_layers && b->status == DART_OK; layer++) {
        const block_place at = {"enc", layer, 2 * c->enc_layers};
        add_block(b, &at, false, &model->encoder[layer]);
    }
    if (b->status == DART_OK && !c->norm.post)
        add_norm(b, &model->source_norm_w, &model->source_norm_b, "enc.norm_f");
}

static dart_status check_scaling(const dart_model_config *c)
{
    const dart_rope_scaling *s = &c->positions.scaling;
    if (s->kind < 0 || s->kind > DART_ROPE_LLAMA3)
        return dart_fail(DART_INPUT, "model: rotary scaling of kind %d, expected 0 to %d", s->kind,
            DART_ROPE_LLAMA3);
    if (s->kind == DART_ROPE_PLAIN) return DART_OK;
    if (c->positions.kind != DART_ROTARY)
        return dart_fail(DART_INPUT, "model: rope_scaling needs rotary positions");
    if (!(s->factor > 0.0) ||
        (s->kind == DART_ROPE_LLAMA3 && !(s->low > 0.0 && s->high > s->low && s->original_context)))
        return dart_fail(DART_INPUT,
            "model: rope_scaling with factor %g, low %g, high %g and an original context of %u; "
            "expected numbers above 0, and high above low",
            s->factor, s->low, s->high, s->original_context);
    return DART_OK;
}

static dart_status check_config(const dart_model_config *c)
{
    if (!c->layers || !c->d_model || !c->heads || !c->d_ff || !c->context || !c->vocab)
        return dart_fail(DART_INPUT,
            "model: layers, d_model, heads, d_ff, context and vocabulary must all be above 0");
    if (c->layers > DART_MAX_LAYERS || c->enc_layers > DART_MAX_LAYERS)
        return dart_fail(DART_INPUT, "model: %u and %u layers, expected at most %d", c->layers,
            c->enc_layers, DART_MAX_LAYERS);
    if (!c->head_dim && c->d_model % c->heads)
        return dart_fail(DART_INPUT, "model: d_model %u is not a multiple of its %u heads",
            c->d_model, c->heads);
    if (!c->kv_heads || c->heads % c->kv_heads)
        return dart_fail(DART_INPUT, "model: %u key/value heads do not divide the %u heads evenly",
            c->kv_heads, c->heads);
    if (c->positions.kind == DART_ROTARY && dart_head_dim(c) % 2)
        return dart_fail(DART_INPUT,
            "model: rotary positions need an even head size, got %u (d_model %u, heads %u)",
            dart_head_dim(c), c->d_model, c->heads);
    DART_TRY(check_scaling(c));
    if (c->head_dim > 65536 || (uint64_t)dart_head_dim(c) * c->heads > 1 << 24)
        return dart_fail(DART_INPUT, "model: %u heads of %u are too large", c->heads, c->head_dim);
    if (c->bias < 0 || c->bias > DART_QKV_BIAS)
        return dart_fail(
            DART_INPUT, "model: biases of kind %d, expected 0 to %d", c->bias, DART_QKV_BIAS);
    if (c->packed && (c->positions.kind != DART_ROTARY || c->enc_layers))
        return dart_fail(DART_INPUT,
            "model: documents behind each other need rotary positions, which know distances only");
    if (c->enc_layers && c->adapter)
        return dart_fail(
            DART_INPUT, "model: adapters belong to models of one text, not to an encoder-decoder");
    if (c->adapter > 65536)
        return dart_fail(
            DART_INPUT, "model: adapters of width %u, expected at most 65536", c->adapter);
    if (c->enc_layers && c->qk_norm)
        return dart_fail(DART_INPUT,
            "model: norms of queries and keys belong to models of one text, not to an "
            "encoder-decoder");
    if (c->positions.kind < 0 || c->positions.kind > DART_SINUSOIDAL ||
        (c->positions.kind != DART_LEARNED && !(c->positions.base > 0.0)))
        return dart_fail(DART_INPUT,
            "model: positions of kind %d with base %g, expected 0 to %d and a base above 0",
            c->positions.kind, c->positions.base, DART_SINUSOIDAL);
    if (c->norm.kind < 0 || c->norm.kind > DART_RMS_NORM || !(c->norm.eps > 0.0))
        return dart_fail(DART_INPUT,
            "model: normalisation of kind %d with eps %g, expected 0 to %d and an eps above 0",
            c->norm.kind, c->norm.eps, DART_RMS_NORM);
    if (c->act < 0 || c->act > DART_ACT_RELU)
        return dart_fail(
            DART_INPUT, "model: activation %d, expected 0 to %d", c->act, DART_ACT_RELU);
    if (!(c->dropout >= 0.0 && c->dropout < 1.0))
        return dart_fail(DART_INPUT, "model: dropout %g, expected in [0, 1)", c->dropout);
    if (!c->enc_layers && (c->norm.post || c->positions.kind == DART_SINUSOIDAL))
        return dart_fail(DART_INPUT,
            "model: post-norm and sinusoidal positions belong to the encoder-decoder; use arch: "
            "encoder-decoder, or norm_position: pre and learned or rotary positions");
    if (c->enc_layers && (!c->source_context || !c->source_vocab))
        return dart_fail(
            DART_INPUT, "model: an encoder needs a source context and a source vocabulary above 0");
    if (c->enc_layers && c->shared_vocab && c->source_vocab != c->vocab)
        return dart_fail(DART_INPUT,
            "model: a shared vocabulary has one size, got %u source and %u target words",
            c->source_vocab, c->vocab);
    return dart_roles_check(c);
}

uint32_t dart_model_longest(const dart_model_config *c)
{
    return c->enc_layers && c->source_context > c->context ? c->source_context : c->context;
}

/* Words of the TABLE region: rotary (T, head size / 2, 2), or sinusoidal positions (T, d_model). */
static uint64_t table_words(const dart_model_config *c)
{
    const uint64_t row[] = {[DART_ROTARY] = dart_head_dim(c), [DART_SINUSOIDAL] = c->d_model};
    return dart_model_longest(c) * row[c->positions.kind];
}

static dart_status place(dart_param *param, uint64_t *at)
{
    uint64_t words = dart_param_words(param);
    param->offset = *at;
    if (!dart_add_u64(*at, words, at) || *at > UINT64_MAX - DART_PARAM_ALIGN)
        return dart_fail(DART_MEMORY, "model: parameter %s does not fit", param->name);
    *at = dart_round_up(*at, DART_PARAM_ALIGN);
    return DART_OK;
}

enum { PLACE_BONDED, PLACE_LAST, PLACE_DECAYED, PLACE_PLAIN, PLACE_FROZEN, PLACES };

static int span_of(const dart_model *model, const dart_param *param)
{
    if (param->region == DART_REGION_FROZEN) return PLACE_FROZEN;
    if (!param->decay) return PLACE_PLAIN;
    if (param->weight < 0) return PLACE_DECAYED;
    const dart_layout *layout = &model->weight[param->weight].layout;
    uint32_t core = (uint32_t)param->tensor - layout->chain_first;
    if ((uint32_t)param->tensor < layout->chain_first || core >= layout->chain_cores)
        return PLACE_DECAYED;
    return core < layout->bonds ? PLACE_BONDED : PLACE_LAST;
}

/* Offsets. Inside PARAM: cores with a bond on their right, the last cores of chains, what else is
 * decayed, the rest; so gates (gates.c), penalties and decay each touch one span. The i-th tensors
 * of weights of one form lie side by side, so that one leaf can view them all as a stack
 * (dart_model_chains). */
static dart_status place_all(dart_model *model)
{
    bool *placed = dart_calloc(model->params, sizeof *placed);
    if (!placed) return DART_MEMORY;
    dart_status status = DART_OK;
    for (int pass = 0; pass < PLACES; pass++) {
        for (uint32_t p = 0; p < model->params; p++) {
            dart_param *param = &model->param[p];
            uint64_t *at = pass == PLACE_FROZEN ? &model->frozen_words : &model->param_words;
            if (placed[p] || span_of(model, param) != pass) continue;
            placed[p] = true;
            DART_GOTO(place(param, at));
            for (uint32_t w = param->weight >= 0 ? (uint32_t)param->weight + 1 : model->weights;
                 w < model->weights; w++) {
                uint32_t q = model->weight[w].first_param + (uint32_t)param->tensor;
                if (!dart_model_same_form(&model->weight[param->weight], &model->weight[w]) ||
                    placed[q])
                    continue;
                placed[q] = true;
                DART_GOTO(place(&model->param[q], at));
            }
        }
        if (pass == PLACE_BONDED) model->bonded_words = model->param_words;
        if (pass == PLACE_LAST) model->chain_words = model->param_words;
        if (pass == PLACE_DECAYED) model->decay_words = model->param_words;
    }
    /* A region without words is none: where nothing is trained, it has words that nobody reads. */
    if (!model->param_words) model->param_words = DART_PARAM_ALIGN;
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
    size_t blocks = (size_t)config->layers + config->enc_layers;
    size_t weights = blocks * DART_BLOCK_WEIGHTS + 3;
    size_t params = weights * (DART_MAX_CORES + 2) + blocks * VECTORS_A_BLOCK + 6;
    model->config = *config;
    model->weight = dart_calloc(weights, sizeof *model->weight);
    model->param = dart_calloc(params, sizeof *model->param);
    model->block = dart_calloc(blocks, sizeof *model->block);
    if (!model->weight || !model->param || !model->block) {
        dart_model_free(model);
        return DART_MEMORY;
    }
    model->encoder = model->block + config->layers;
    model->source_embedding = model->source_positions = -1;
    model->source_norm_w = model->source_norm_b = model->norm_w = model->norm_b = -1;
    model->embedding = add_table(&b, c->vocab, "tok_emb");
    model->positions = add_positions(&b, c->context, "pos_emb.weight");
    if (c->enc_layers && b.status == DART_OK) add_encoder(&b);
    for (uint32_t layer = 0; layer < c->layers && b.status == DART_OK; layer++) {
        const block_place at = {
            c->enc_layers ? "dec" : "blocks", layer, (c->enc_layers ? 3 : 2) * c->layers};
        add_block(&b, &at, c->enc_layers > 0, &model->block[layer]);
    }
    if (b.status == DART_OK && !c->norm.post)
        add_norm(&b, &model->norm_w, &model->norm_b, c->enc_layers ? "dec.norm_f" : "norm_f");
    model->head = model->embedding;
    if (!c->tied) model->head = add_table(&b, c->vocab, "head");
    if (b.status == DART_OK) b.status = dart_roles_decide(model);
    if (b.status == DART_OK) b.status = place_all(model);
    model->table_words = table_words(c);
    if (b.status == DART_OK && c->gate.on) b.status = dart_gates_layout(model);
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
    free(model->bond);
    free(model);
}

dart_status dart_model_init(const dart_model *model, uint64_t seed, float *param, float *frozen)
{
    memset(param, 0, (size_t)model->param_words * sizeof *param);
    if (model->frozen_words) memset(frozen, 0, (size_t)model->frozen_words * sizeof *frozen);
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *info = &model->param[p];
        float *to = (info->region == DART_REGION_FROZEN ? frozen : param) + info->offset;
        uint64_t words = dart_shape_words(&info->shape);
        uint64_t stream = DART_STREAM_INIT | (uint64_t)(p + 1) << 32;
        if (info->of_base) continue;
        for (uint64_t i = 0; i < words; i++)
            to[i] = info->ones        ? 1.0f
                    : info->std > 0.0 ? (float)(info->std * dart_normal(seed, stream, i))
                                      : 0.0f;
    }
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *of = &model->weight[w];
        float *tensor[DART_MAX_CORES + 2];
        dart_model_tensors(model, w, param, frozen, NULL, tensor);
        DART_TRY(dart_method_start(&of->weight, &of->layout, tensor));
    }
    return DART_OK;
}

/* What an angle of one position is divided by, for pairs of this wavelength. */
static double stretch(const dart_rope_scaling *s, double wavelength)
{
    if (s->kind == DART_ROPE_PLAIN) return 1.0;
    if (s->kind == DART_ROPE_LINEAR || wavelength > s->original_context / s->low) return s->factor;
    if (wavelength < s->original_context / s->high) return 1.0;
    const double smooth = (s->original_context / wavelength - s->low) / (s->high - s->low);
    return 1.0 / ((1.0 - smooth) / s->factor + smooth);
}

void dart_model_table(const dart_model *model, float *table)
{
    const dart_model_config *c = &model->config;
    if (!model->table_words) return;
    /* Rotary pairs are (cos, sin) of one head, sinusoidal ones (sin, cos) of the whole width
     * (Vaswani et al. 2017, 3.5). */
    const bool rotary = c->positions.kind == DART_ROTARY;
    uint32_t half = (rotary ? dart_head_dim(c) : c->d_model) / 2;
    uint32_t width = rotary ? 2 * half : c->d_model; /* an odd width ends with a column of 0 */
    for (uint32_t t = 0; t < dart_model_longest(c); t++)
        for (uint32_t i = 0; i < half; i++) {
            double turn = pow(c->positions.base, -(double)i / half);
            if (rotary) turn /= stretch(&c->positions.scaling, 2 * PI / turn);
            const double angle = t * turn;
            float *pair = table + (size_t)t * width + 2 * (size_t)i;
            pair[rotary ? 0 : 1] = (float)cos(angle);
            pair[rotary ? 1 : 0] = (float)sin(angle);
        }
}

void dart_model_count(
    const dart_model *model, uint64_t *out_total, uint64_t *out_compressed, uint64_t *out_dense)
{
    *out_total = *out_compressed = *out_dense = 0;
    for (uint32_t p = 0; p < model->params; p++)
        if (!model->param[p].gate) *out_total += dart_shape_words(&model->param[p].shape);
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
    uint64_t rows = dart_round_up((uint64_t)batch * time, DART_PARAM_ALIGN);
    (void)model;
    *out_tokens = 0;
    *out_labels = rows;
    *out_index = 2 * rows;
}

void dart_model_source_offsets(const dart_model *model, uint32_t batch, uint32_t time,
    uint64_t *out_source, uint64_t *out_length, uint64_t *out_index)
{
    uint64_t tokens, labels, index;
    const dart_model_config *c = &model->config;
    dart_model_input_offsets(model, batch, time, &tokens, &labels, &index);
    *out_source =
        index + dart_round_up((uint64_t)c->vocab + 1 + (uint64_t)batch * time, DART_PARAM_ALIGN);
    *out_length =
        *out_source + dart_round_up((uint64_t)batch * c->source_context, DART_PARAM_ALIGN);
    *out_index = *out_length + dart_round_up(batch, DART_PARAM_ALIGN);
}

uint64_t dart_model_starts_offset(const dart_model *model, uint32_t batch, uint32_t time)
{
    uint64_t source, length, index;
    dart_model_source_offsets(model, batch, time, &source, &length, &index);
    return source;
}

uint64_t dart_model_input_words(const dart_model *model, uint32_t batch, uint32_t time)
{
    uint64_t source, length, index;
    const dart_model_config *c = &model->config;
    dart_model_source_offsets(model, batch, time, &source, &length, &index);
    if (c->packed) return source + dart_round_up((uint64_t)batch * time, DART_PARAM_ALIGN);
    if (!c->enc_layers) return source;
    return index +
           dart_round_up((uint64_t)c->source_vocab + 1 + (uint64_t)batch * c->source_context,
               DART_PARAM_ALIGN);
}
