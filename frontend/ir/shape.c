/* Shape inference: one dart_infer_<op> per row of ops.def, one rule for all element-wise ops. */
#include "shape_rules.h"
#include <string.h>

typedef dart_status (*shape_rule)(const dart_graph *graph, dart_node_info *info);

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
        EXPECT(in_node(graph, info, i)->dtype == DART_F32 ||
                   dart_dtype_halves(in_node(graph, info, i)->dtype),
            "operands of numbers");
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

dart_status dart_infer_leaf(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(info->ints == 2 && info->i[0] > 0 && info->i[0] < DART_REGIONS && info->i[1] >= 0,
        "a region and an offset");
    EXPECT(dart_shape_words(&info->shape) != UINT64_MAX, "a size that fits 64 bits");
    if (!dart_dtype_packed(info->dtype)) return DART_OK;
    EXPECT((int)info->dtype < DART_DTYPES + DART_PACKED_FORMATS &&
               (info->i[0] == DART_REGION_FROZEN || info->i[0] == DART_REGION_FORM),
        "a packed matrix in the region frozen or form");
    EXPECT((info->shape.rank == 2 || (info->shape.rank && dart_dtype_halves(info->dtype))) &&
               last_dim(&info->shape) % block_of(info->dtype) == 0 &&
               dart_shape_words(&info->shape) <= UINT32_MAX,
        "a packed matrix (rows, columns) of whole blocks");
    return DART_OK;
}

dart_status dart_infer_store(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_reshape(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_shape_words(&info->shape) == dart_shape_words(in_shape(graph, info, 0)),
        "a shape of the same number of elements");
    info->dtype = in_node(graph, info, 0)->dtype;
    EXPECT(!dart_dtype_packed(info->dtype) ||
               (dart_dtype_halves(info->dtype) && last_dim(&info->shape) % 2 == 0 &&
                   last_dim(in_shape(graph, info, 0)) % 2 == 0),
        "even last axes where numbers have 16 bits, and none that are packed otherwise");
    return DART_OK;
}

dart_status dart_infer_again(const dart_graph *graph, dart_node_info *info)
{
    info->shape = *in_shape(graph, info, 0);
    info->dtype = in_node(graph, info, 0)->dtype;
    return DART_OK;
}

dart_status dart_infer_permute(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_slice(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_unslice(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_join(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_contract(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_reduce(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_unpack(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_dtype_packed(in_node(graph, info, 0)->dtype), "a packed matrix");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_pack(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *x = in_node(graph, info, 0);
    EXPECT(x->dtype == DART_F32 && x->shape.rank >= 1 && last_dim(&x->shape) % 2 == 0,
        "x (..., C) of f32 with even C");
    EXPECT(info->ints == 1 && (info->i[0] == DART_PACKED_f16 || info->i[0] == DART_PACKED_bf16),
        "f16 or bf16");
    info->shape = x->shape;
    info->dtype = DART_DTYPE(info->i[0]);
    return DART_OK;
}

dart_status dart_infer_with_grad(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_spd_fn(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_gram_spectral(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_adamw(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_axpy_scalar(const dart_graph *graph, dart_node_info *info)
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

dart_status dart_infer_clip(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_shape_words(in_shape(graph, info, 0)) == 1 &&
               is_leaf_of(graph, info, 1, DART_REGION_FSCAL),
        "a sum of squares and the step block");
    info->shape = *in_shape(graph, info, 1);
    info->dtype = DART_F32;
    return DART_OK;
}

static const shape_rule rules[DART_OPS] = {
#define OP(name, ...) [DART_OP_##name] = dart_infer_##name,
#include "ops.def"
#undef OP
};

/* with_grad is gone before anything is lowered. */
static bool reads_packed(const dart_node_info *info, uint32_t input)
{
    return info->op == DART_OP_with_grad || info->op == DART_OP_unpack ||
           info->op == DART_OP_reshape || info->op == DART_OP_again ||
           (info->op == DART_OP_gather && input == 0) ||
           (info->op == DART_OP_contract && info->inputs > 1);
}

/* Reads numbers of 16 bits as they are, where their rows lie without gaps. */
static bool reads_halves(const dart_graph *graph, const dart_node_info *info, uint32_t input)
{
    const dart_node_info *x = in_node(graph, info, input);
    if (!dart_dtype_halves(x->dtype) || last_dim(&x->shape) % 2) return false;
    return dart_op_info_of(info->op)->map ||
           (input == 0 && (info->op == DART_OP_norm || info->op == DART_OP_norm_dx ||
                              info->op == DART_OP_norm_dw));
}

dart_status dart_infer(const dart_graph *graph, dart_node_info *info)
{
    if (info->shape.rank > DART_MAX_RANK)
        return dart_fail(DART_FAILED, "%s at \"%s\": %u axes, at most %d",
            dart_op_info_of(info->op)->name, graph->scope, info->shape.rank, DART_MAX_RANK);
    for (uint32_t i = 0; i < info->inputs; i++)
        EXPECT(!dart_dtype_packed(in_node(graph, info, i)->dtype) || reads_packed(info, i) ||
                   reads_halves(graph, info, i),
            "numbers, not a packed matrix: only a contract with another tensor and a look-up "
            "unpack one");
    return dart_op_info_of(info->op)->map ? shape_map(graph, info) : rules[info->op](graph, info);
}
