/* Shape inference: one shape_<op> per row of ops.def, one rule for all element-wise ops. */
#include "graph_impl.h"
#include <string.h>

typedef dart_status (*shape_rule)(const dart_graph *graph, dart_node_info *info);

static const dart_shape *in_shape(const dart_graph *graph, const dart_node_info *info, uint32_t i)
{
    return &graph->node[info->in[i]]->shape;
}

static const dart_node_info *in_node(
    const dart_graph *graph, const dart_node_info *info, uint32_t i)
{
    return graph->node[info->in[i]];
}

char *dart_shape_format(const dart_shape *shape, char out[128])
{
    int at = snprintf(out, 128, "[");
    for (uint32_t i = 0; i < shape->rank && at < 110; i++)
        at += snprintf(out + at, (size_t)(128 - at), i ? ",%u" : "%u", shape->dim[i]);
    snprintf(out + at, (size_t)(128 - at), "]");
    return out;
}

/* The sentence for a wrong call: op, where, what, shapes of the inputs. */
static dart_status wrong(const dart_graph *graph, const dart_node_info *info, const char *expected)
{
    char got[400] = "", text[128];
    size_t at = 0;
    for (uint32_t i = 0; i < info->inputs && at < 300; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%s", i ? " " : "",
            dart_shape_format(in_shape(graph, info, i), text));
    return dart_fail(DART_FAILED, "%s at \"%s\": expected %s, got %s",
        dart_op_info_of(info->op)->name, graph->scope, expected, at ? got : "no input");
}

#define EXPECT(cond, text)                                                                         \
    do {                                                                                           \
        if (!(cond)) return wrong(graph, info, text);                                              \
    } while (0)

static uint32_t last_dim(const dart_shape *shape)
{
    return shape->rank ? shape->dim[shape->rank - 1] : 1;
}

static bool is_suffix(const dart_shape *whole, const dart_shape *part)
{
    if (part->rank > whole->rank) return false;
    for (uint32_t i = 0; i < part->rank; i++)
        if (part->dim[part->rank - 1 - i] != whole->dim[whole->rank - 1 - i]) return false;
    return true;
}

static dart_status shape_map(const dart_graph *graph, dart_node_info *info)
{
    info->dtype = DART_F32;
    if (!info->inputs) return DART_OK; /* fill: the caller's shape */
    for (uint32_t i = 0; i < info->inputs; i++)
        EXPECT(in_node(graph, info, i)->dtype == DART_F32, "f32 operands");
    info->shape = *in_shape(graph, info, 0);
    if (info->inputs == 2) {
        const dart_shape *b = in_shape(graph, info, 1);
        EXPECT(is_suffix(&info->shape, b) || dart_shape_words(b) == 1,
            "a second operand whose shape is a suffix of the first's, or one word");
    }
    return DART_OK;
}

static uint32_t block_of(dart_dtype type)
{
    return dart_packed_info_of(dart_dtype_format(type)).block;
}

static dart_status shape_leaf(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(info->ints == 2 && info->i[0] > 0 && info->i[0] < DART_REGIONS && info->i[1] >= 0,
        "a region and an offset");
    EXPECT(dart_shape_words(&info->shape) != UINT64_MAX, "a size that fits 64 bits");
    if (!dart_dtype_packed(info->dtype)) return DART_OK;
    EXPECT((int)info->dtype < DART_DTYPES + DART_PACKED_FORMATS &&
               (info->i[0] == DART_REGION_FROZEN || info->i[0] == DART_REGION_FORM),
        "a packed matrix in the region frozen or form");
    EXPECT(info->shape.rank == 2 && info->shape.dim[1] % block_of(info->dtype) == 0 &&
               dart_shape_words(&info->shape) <= UINT32_MAX,
        "a packed matrix (rows, columns) of whole blocks");
    return DART_OK;
}

static dart_status shape_store(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *target = in_node(graph, info, 0), *value = in_node(graph, info, 1);
    EXPECT(target->op == DART_OP_leaf, "a leaf as the target");
    EXPECT(dart_shape_words(&target->shape) == dart_shape_words(&value->shape) &&
               target->dtype == value->dtype,
        "a value of the target's size and type");
    info->shape = target->shape;
    info->dtype = target->dtype;
    return DART_OK;
}

static dart_status shape_reshape(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_shape_words(&info->shape) == dart_shape_words(in_shape(graph, info, 0)),
        "a shape of the same number of elements");
    info->dtype = in_node(graph, info, 0)->dtype;
    return DART_OK;
}

static dart_status shape_again(const dart_graph *graph, dart_node_info *info)
{
    info->shape = *in_shape(graph, info, 0);
    info->dtype = in_node(graph, info, 0)->dtype;
    return DART_OK;
}

static dart_status shape_permute(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(info->ints == x->rank, "one position per axis");
    uint32_t seen = 0;
    info->shape = *x;
    for (uint32_t i = 0; i < x->rank; i++) {
        EXPECT(info->i[i] >= 0 && info->i[i] < x->rank && !(seen >> info->i[i] & 1),
            "a permutation of the axes");
        seen |= 1u << info->i[i];
        info->shape.dim[i] = x->dim[info->i[i]];
    }
    info->dtype = in_node(graph, info, 0)->dtype;
    return DART_OK;
}

static dart_status shape_slice(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank >= 1 && info->ints == 2 && info->i[0] >= 0 && info->i[1] >= 0 &&
               info->i[0] + info->i[1] <= x->dim[0],
        "rows inside the first axis");
    info->shape = *x;
    info->shape.dim[0] = (uint32_t)info->i[1];
    info->dtype = in_node(graph, info, 0)->dtype;
    return DART_OK;
}

static dart_status shape_unslice(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank >= 1 && info->ints == 2 && info->i[0] >= 0 &&
               info->i[0] + x->dim[0] <= info->i[1] && info->i[1] <= UINT32_MAX,
        "rows inside the total");
    info->shape = *x;
    info->shape.dim[0] = (uint32_t)info->i[1];
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_join(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *first = in_shape(graph, info, 0);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < info->inputs; i++) {
        const dart_shape *x = in_shape(graph, info, i);
        EXPECT(x->rank >= 1 && x->rank == first->rank &&
                   !memcmp(x->dim + 1, first->dim + 1, (x->rank - 1) * sizeof *x->dim) &&
                   in_node(graph, info, i)->dtype == DART_F32,
            "f32 tensors that differ in their first axis only");
        rows += dart_join_rows(x);
    }
    EXPECT(rows <= UINT32_MAX, "rows that 32 bits count");
    info->shape = *first;
    info->shape.dim[0] = (uint32_t)rows;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_contract(const dart_graph *graph, dart_node_info *info)
{
    uint64_t size[128] = {0};
    bool seen_out[128] = {false};
    const char *at = info->text;
    info->dtype = DART_F32;
    for (uint32_t k = 0; k < info->inputs; k++) {
        const dart_shape *x = in_shape(graph, info, k);
        bool seen[128] = {false};
        uint32_t axis = 0;
        for (; *at && *at != ',' && *at != '-'; at++, axis++) {
            int c = *at;
            EXPECT((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), "letters as labels");
            EXPECT(axis < x->rank, "one label per axis");
            EXPECT(!seen[c], "a label once per operand");
            EXPECT(!size[c] || size[c] == (uint64_t)x->dim[axis] + 1, "equal sizes for a label");
            seen[c] = true;
            size[c] = (uint64_t)x->dim[axis] + 1; /* +1: 0 means not seen */
        }
        EXPECT(axis == x->rank, "one label per axis");
        EXPECT(*at == (k + 1 < info->inputs ? ',' : '-'), "as many operands as inputs");
        at++;
    }
    EXPECT(*at == '>', "an arrow before the output labels");
    info->shape.rank = 0;
    for (at++; *at; at++) {
        int c = *at;
        EXPECT(c > 0 && c < 128 && size[c], "output labels that occur in an operand");
        EXPECT(!seen_out[c], "a label once in the output");
        EXPECT(info->shape.rank < DART_MAX_RANK, "at most 12 output axes");
        seen_out[c] = true;
        info->shape.dim[info->shape.rank++] = (uint32_t)(size[c] - 1);
    }
    return DART_OK;
}

static dart_status shape_reduce(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(info->ints == 3 && info->i[0] >= 0 && info->i[0] <= 3 && info->i[1] >= 0 &&
               info->i[2] >= 0 && info->i[1] + info->i[2] <= x->rank,
        "axes inside the shape");
    info->dtype = DART_F32;
    info->shape.rank = 0;
    for (uint32_t i = 0; i < x->rank; i++)
        if (i < info->i[1] || i >= info->i[1] + info->i[2])
            info->shape.dim[info->shape.rank++] = x->dim[i];
    return DART_OK;
}

static dart_status shape_norm(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    for (uint32_t i = 1; i < 3; i++) {
        const dart_shape *w = in_shape(graph, info, i);
        EXPECT(
            w->rank == 1 && x->rank >= 1 && w->dim[0] == last_dim(x), "x (..., C), w (C), b (C)");
    }
    EXPECT(info->ints == 1 && info->floats == 1, "kind and eps");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_norm_dx(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0), *w = in_shape(graph, info, 1);
    EXPECT(x->rank >= 1 && w->rank == 1 && w->dim[0] == last_dim(x) &&
               dart_shape_equal(x, in_shape(graph, info, 2)),
        "x (..., C), w (C), dy as x");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_norm_dw(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank >= 1 && dart_shape_equal(x, in_shape(graph, info, 1)), "x and dy alike");
    info->shape = DART_SHAPE(2, last_dim(x));
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_unpack(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_dtype_packed(in_node(graph, info, 0)->dtype), "a packed matrix");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_gather(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *w = in_node(graph, info, 0), *ids = in_node(graph, info, 1),
                         *index = info->inputs > 2 ? in_node(graph, info, 2) : NULL;
    EXPECT(w->shape.rank == 2 && ids->dtype == DART_I32 && ids->shape.rank < DART_MAX_RANK,
        "w (V,C), ids i32 (...)");
    EXPECT(!index || (index->dtype == DART_I32 &&
                         dart_shape_words(&index->shape) ==
                             (uint64_t)w->shape.dim[0] + 1 + dart_shape_words(&ids->shape)),
        "w (V,C), ids i32 (...), index i32 (V + 1 + ids)");
    info->shape = ids->shape;
    info->shape.dim[info->shape.rank++] = w->shape.dim[1];
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_scatter(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *dy = in_shape(graph, info, 0), *index = in_shape(graph, info, 1);
    EXPECT(dy->rank >= 1 && info->ints == 1 && info->i[0] >= 0, "dy (..., C), index, vocabulary");
    uint64_t rows = last_dim(dy) ? dart_shape_words(dy) / last_dim(dy) : 0;
    EXPECT(dart_shape_words(index) == (uint64_t)info->i[0] + 1 + rows, "index of V + 1 + rows");
    EXPECT(info->inputs < 3 || (in_node(graph, info, 2)->dtype == DART_I32 &&
                                   dart_shape_words(in_shape(graph, info, 2)) == rows),
        "an id a row");
    info->shape = DART_SHAPE((uint32_t)info->i[0], last_dim(dy));
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_rope(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0), *table = in_shape(graph, info, 1);
    EXPECT(x->rank == 4 && x->dim[3] % 2 == 0 && table->rank == 3 && table->dim[0] >= x->dim[1] &&
               table->dim[1] == x->dim[3] / 2 && table->dim[2] == 2,
        "x (B,T,H,D) with even D, table (>= T, D/2, 2)");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_cache_write(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *cache = in_node(graph, info, 0), *at = in_node(graph, info, 3);
    EXPECT(cache->op == DART_OP_leaf && cache->shape.rank >= 3 && cache->shape.dim[0] == 2 &&
               dart_shape_words(&cache->shape) && at->dtype == DART_I32,
        "a cache leaf (2,B,S,...), k, v, an i32 leaf");
    uint64_t words = dart_shape_words(in_shape(graph, info, 1));
    uint64_t step = dart_shape_words(&cache->shape) / 2 / cache->shape.dim[2]; /* B rows */
    EXPECT(words == dart_shape_words(in_shape(graph, info, 2)) && words && words % step == 0 &&
               words / step <= cache->shape.dim[2],
        "k and v (B,T,...) with T <= S for a cache (2,B,S,...)");
    info->shape = cache->shape;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_attend(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *q = in_shape(graph, info, 0), *cache = in_shape(graph, info, 1);
    EXPECT(q->rank == 4 && cache->rank == 5 && cache->dim[0] == 2 && cache->dim[1] == q->dim[0] &&
               cache->dim[2] >= q->dim[1] && cache->dim[4] == q->dim[3] && cache->dim[3] &&
               q->dim[2] % cache->dim[3] == 0 && in_node(graph, info, 2)->dtype == DART_I32 &&
               info->floats == 1,
        "q (B,T,H,D), cache (2,B,S >= T,H',D) with H' dividing H, an i32 leaf");
    info->shape = *q;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_softmax(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank >= 1 && info->ints == 1 && info->floats == 1, "x (..., S)");
    EXPECT(!info->i[0] || (x->rank >= 2 && x->dim[x->rank - 1] >= x->dim[x->rank - 2]),
        "x (..., T, S) with S >= T for a causal mask");
    if (info->i[0] == 2) {
        const dart_node_info *starts = in_node(graph, info, 1);
        const dart_shape *s = &starts->shape;
        EXPECT(info->inputs == 2 && starts->dtype == DART_I32 && x->rank >= 3 && s->rank == 2 &&
                   s->dim[0] == x->dim[0] && s->dim[1] == x->dim[x->rank - 2],
            "starts i32 (B,T) for x (B,...,T,S)");
    } else if (info->inputs > 1) {
        const dart_node_info *lengths = in_node(graph, info, 1);
        uint64_t rows = last_dim(x) ? dart_shape_words(x) / last_dim(x) : 0;
        uint64_t n = dart_shape_words(&lengths->shape);
        EXPECT(lengths->dtype == DART_I32 && n && rows % n == 0,
            "lengths i32 (n), n a divisor of the rows of x");
    }
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_softmax_dx(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_shape_equal(in_shape(graph, info, 0), in_shape(graph, info, 1)), "y and dy alike");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_dropout(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(in_node(graph, info, 1)->dtype == DART_I32 && info->floats == 1 && info->f[0] >= 0 &&
               info->f[0] < 1,
        "x, the i32 step block, and a rate in [0, 1)");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_uniform(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(in_node(graph, info, 0)->dtype == DART_I32 && info->ints == 2 && info->i[1] > 0 &&
               info->i[1] <= UINT32_MAX,
        "the i32 step block, a stream and a count");
    info->shape = DART_SHAPE((uint32_t)info->i[1]);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_cross_entropy(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    const dart_node_info *labels = in_node(graph, info, 1);
    EXPECT(x->rank == 2 && labels->dtype == DART_I32 &&
               dart_shape_words(&labels->shape) == x->dim[0] && info->i[0] > 0 &&
               info->i[0] <= x->dim[1] && info->f[0] >= 0 && info->f[0] < 1,
        "logits (R,V), labels i32 (R), 0 < valid <= V, smoothing in [0, 1)");
    info->shape = DART_SHAPE(2, x->dim[0]);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_cross_entropy_dx(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank == 2 && dart_shape_words(in_shape(graph, info, 1)) == 2ull * x->dim[0] &&
               dart_shape_words(in_shape(graph, info, 2)) == x->dim[0] && info->i[0] > 0 &&
               info->i[0] <= x->dim[1] && info->f[1] >= 0 && info->f[1] < 1,
        "logits (R,V), stats (2,R), labels (R), 0 < valid <= V, smoothing in [0, 1)");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_with_grad(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(info->inputs % 2 == 1 && dart_shape_words(in_shape(graph, info, 0)) == 1,
        "a scalar loss and as many gradients as inputs");
    uint32_t n = info->inputs / 2;
    for (uint32_t i = 0; i < n; i++)
        EXPECT(dart_shape_equal(in_shape(graph, info, 1 + i), in_shape(graph, info, 1 + n + i)),
            "gradients of the inputs' shapes");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_spd_fn(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *s = in_shape(graph, info, 0);
    EXPECT((s->rank == 2 || s->rank == 3) && s->dim[s->rank - 1] == s->dim[s->rank - 2] &&
               s->dim[s->rank - 1] <= 256 && info->i[0] >= 0 && info->i[0] <= 2,
        "(n,n) or (B,n,n) with n <= 256");
    info->shape = *s;
    if (info->i[0] == 2) info->shape.rank -= 2;
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_gram_spectral(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *left = in_shape(graph, info, 0);
    EXPECT((left->rank == 2 || left->rank == 3) &&
               left->dim[left->rank - 1] == left->dim[left->rank - 2] &&
               left->dim[left->rank - 1] <= 256 && dart_shape_equal(left, in_shape(graph, info, 1)),
        "two (r,r) or (B,r,r) operands with r <= 256");
    info->shape = *left;
    info->shape.rank -= 2;
    info->dtype = DART_F32;
    return DART_OK;
}

static bool is_leaf_of(
    const dart_graph *graph, const dart_node_info *info, uint32_t i, dart_region region)
{
    const dart_node_info *leaf = in_node(graph, info, i);
    return leaf->op == DART_OP_leaf && (region == DART_REGION_NONE || leaf->i[0] == region);
}

static dart_status shape_adamw(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(is_leaf_of(graph, info, 0, DART_REGION_PARAM) &&
               is_leaf_of(graph, info, 2, DART_REGION_MOMENT) &&
               dart_shape_words(in_shape(graph, info, 3)) == DART_FSCAL_BLOCK &&
               in_node(graph, info, 3)->dtype == DART_F32 && info->floats == 4 &&
               dart_shape_words(in_shape(graph, info, 0)) ==
                   dart_shape_words(in_shape(graph, info, 1)),
        "a parameter leaf, its gradient, the moment leaf and the step block");
    uint64_t moments = dart_shape_words(in_shape(graph, info, 2));
    EXPECT(moments % 2 == 0 && (uint64_t)in_node(graph, info, 0)->i[1] +
                                       dart_shape_words(in_shape(graph, info, 0)) <=
                                   moments / 2,
        "moments (2, parameter words)");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_axpy_scalar(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(is_leaf_of(graph, info, 0, DART_REGION_NONE) &&
               is_leaf_of(graph, info, 2, DART_REGION_FSCAL) && info->ints == 1 &&
               dart_shape_words(in_shape(graph, info, 0)) ==
                   dart_shape_words(in_shape(graph, info, 1)),
        "a leaf, a tensor of its size and the step block");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

static dart_status shape_clip(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_shape_words(in_shape(graph, info, 0)) == 1 &&
               is_leaf_of(graph, info, 1, DART_REGION_FSCAL),
        "a sum of squares and the step block");
    info->shape = *in_shape(graph, info, 1);
    info->dtype = DART_F32;
    return DART_OK;
}

#define shape_attention dart_infer_attention
#define shape_attention_dx dart_infer_attention
#define shape_attention_part dart_infer_attention

static const shape_rule rules[DART_OPS] = {
#define OP(name, ...) [DART_OP_##name] = shape_##name,
#include "ops.def"
#undef OP
};

/* with_grad is gone before anything is lowered. */
static bool reads_packed(const dart_node_info *info, uint32_t input)
{
    return info->op == DART_OP_with_grad || info->op == DART_OP_unpack ||
           (info->op == DART_OP_gather && input == 0) ||
           (info->op == DART_OP_contract && info->inputs > 1);
}

dart_status dart_infer(const dart_graph *graph, dart_node_info *info)
{
    if (info->shape.rank > DART_MAX_RANK)
        return dart_fail(DART_FAILED, "%s at \"%s\": %u axes, at most %d",
            dart_op_info_of(info->op)->name, graph->scope, info->shape.rank, DART_MAX_RANK);
    for (uint32_t i = 0; i < info->inputs; i++)
        EXPECT(!dart_dtype_packed(in_node(graph, info, i)->dtype) || reads_packed(info, i),
            "numbers, not a packed matrix: only a contract with another tensor and a look-up "
            "unpack one");
    return dart_op_info_of(info->op)->map ? shape_map(graph, info) : rules[info->op](graph, info);
}
