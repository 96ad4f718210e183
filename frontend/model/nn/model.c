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

/* At most, with cross-attention and adapters; and beside the blocks. */
enum { VECTORS_A_BLOCK = 25, OTHER_VECTORS = 11 };

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
        char name[sizeof(dart_param){0}.name];
        b->status = dart_param_shared(b->model, w, tensor, name, &w->param[i]);
        if (b->status != DART_OK) return;
        if (w->param[i] != UINT32_MAX) continue;
        w->param[i] = b->model->params;
        dart_param *param = new_param(b);
        strcpy(param->name, name);
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
    if (from.ranks[0] == DART_RANKS_LOST) from.method = dart_method_find("frozen");
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
    w->compressed = dart_layout_reduced(&w->layout);
    add_tensors(b, w);
    return b->status == DART_OK ? (int)model->weights++ : -1;
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
    const uint32_t size = dart_head_dim(c), side = residual ? in : out;
    dart_weight from = {.out = out, .in = in, .target_std = std, .in_heads = residual};
    if (strncmp(name, "mlp.", 4) != 0) {
        from.heads = side / size;
        from.most_heads = c->heads;
    }
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
        {"up", {.out = d, .in = width, .target_std = 0, .in_heads = true}, &out->up,
            &out->up_bias}};
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

/* Of the embedding of an encoder. */
static void add_segments(builder *b)
{
    dart_model *model = b->model;
    const dart_model_config *c = &model->config;
    if (b->status != DART_OK || !c->encoder) return;
    if (c->token_types) model->types = add_positions(b, c->token_types, "type_emb.weight");
    add_norm(b, &model->norm_emb_w, &model->norm_emb_b, "norm_emb");
}

/* The bias of a layer that the base does not have. */
static int add_new_bias(builder *b, uint32_t size, const char *name)
{
    int index = add_vector(b, size, false, "%s", name);
    b->model->param[index].region = DART_REGION_PARAM;
    b->model->param[index].of_base = false;
    return index;
}

/* Classifiers: an encoder's has a bias, one on a decoder has none, as in transformers. */
static void add_classifier(builder *b)
{
    dart_model *model = b->model;
    const dart_model_config *c = &model->config;
    const double std = BASE_STD * sqrt(GPT2_WIDTH / c->d_model);
    if (c->pooler) {
        const dart_weight from = {.out = c->d_model, .in = c->d_model, .target_std = std};
        model->pooler = add_weight(b, from, false, "pooler");
        if (b->status != DART_OK) return;
        model->pooler_bias = c->new_pooler ? add_new_bias(b, c->d_model, "pooler.bias")
                                           : add_vector(b, c->d_model, false, "pooler.bias");
    }
    const dart_weight from = {.out = c->labels, .in = c->d_model, .target_std = BASE_STD};
    model->classifier = add_weight(b, from, false, "classifier");
    if (b->status == DART_OK && c->encoder)
        model->classifier_bias = add_new_bias(b, c->labels, "classifier.bias");
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

/* Weights and biases of norms are one kind of vector, biases of linear layers another. */
static bool of_norm(const dart_model *model, uint32_t p)
{
    const dart_param *param = &model->param[p];
    return param->ones ||
           (p && model->param[p - 1].ones && dart_shape_equal(&param->shape, &param[-1].shape));
}

static bool same_kind(const dart_model *model, uint32_t p, uint32_t q)
{
    const dart_param *a = &model->param[p], *b = &model->param[q];
    return a->shape.rank == 1 && dart_shape_equal(&a->shape, &b->shape) &&
           span_of(model, a) == span_of(model, b) && of_norm(model, p) == of_norm(model, q);
}

/* Offsets. Inside PARAM: cores with a bond on their right, the last cores of chains, what else is
 * decayed, the rest; so gates (gates.c), penalties and decay each touch one span. The i-th tensors
 * of weights of one form lie side by side, so that one leaf can view them all as a stack
 * (dart_model_chains); and so do vectors of one kind, whose gradients are sums of one form. */
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
            for (uint32_t q = p + 1; pass == PLACE_PLAIN && q < model->params; q++) {
                if (placed[q] || !same_kind(model, p, q)) continue;
                placed[q] = true;
                DART_GOTO(place(&model->param[q], at));
            }
            for (uint32_t w = param->weight >= 0 ? (uint32_t)param->weight + 1 : model->weights;
                 w < model->weights; w++) {
                if (!dart_model_same_form(&model->weight[param->weight], &model->weight[w]))
                    continue;
                const uint32_t q = model->weight[w].param[param->tensor];
                if (placed[q]) continue;
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
    DART_TRY(dart_model_check(config));
    dart_model *model = dart_calloc(1, sizeof *model);
    if (!model) return DART_MEMORY;
    builder b = {model, ranks, DART_OK};
    const dart_model_config *c = &model->config;
    size_t blocks = (size_t)config->layers + config->enc_layers;
    size_t weights = blocks * DART_BLOCK_WEIGHTS + DART_OTHER_WEIGHTS;
    size_t params = weights * (DART_MAX_CORES + 2) + blocks * VECTORS_A_BLOCK + OTHER_VECTORS;
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
    model->types = model->norm_emb_w = model->norm_emb_b = -1;
    model->pooler = model->classifier = model->pooler_bias = model->classifier_bias = -1;
    model->embedding = add_table(&b, c->vocab, "tok_emb");
    model->positions = add_positions(&b, c->context, "pos_emb.weight");
    add_segments(&b);
    if (c->enc_layers && b.status == DART_OK) add_encoder(&b);
    for (uint32_t layer = 0; layer < c->layers && b.status == DART_OK; layer++) {
        const block_place at = {
            c->enc_layers ? "dec" : "blocks", layer, (c->enc_layers ? 3 : 2) * c->layers};
        add_block(&b, &at, c->enc_layers > 0, &model->block[layer]);
    }
    if (b.status == DART_OK && !c->norm.post)
        add_norm(&b, &model->norm_w, &model->norm_b, c->enc_layers ? "dec.norm_f" : "norm_f");
    model->head = model->embedding;
    if (c->labels)
        add_classifier(&b);
    else if (!c->tied)
        model->head = add_table(&b, c->vocab, "head");
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
