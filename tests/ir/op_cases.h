/* Cases of every op of ops.def and map_ops.def: variant 0, 1, ... until 0 is returned. An op
 * without a case_<op> here does not link. */
#ifndef DART_TEST_OP_CASES_H
#define DART_TEST_OP_CASES_H

#include "attention_cases.h"

static const uint32_t sizes[] = {1, 3, 31, 33, 257};
enum { SIZES = sizeof sizes / sizeof *sizes };

static inline dart_node case_map(builder *b, dart_op op, uint32_t v)
{
    const dart_op_info *info = dart_op_info_of(op);
    b->tolerance = 1e-10;
    b->nudge = op == DART_OP_relu || op == DART_OP_relu_back ? 1e-3 : 0;
    b->bit_exact =
        op == DART_OP_copy || op == DART_OP_fill || op == DART_OP_step || op == DART_OP_straight;
    const char *name = info->name;
    b->no_gradient = strstr(name, "_back") || op == DART_OP_fill || op == DART_OP_straight;
    uint32_t n = sizes[v % SIZES], kind = v / SIZES;
    if (kind >= (info->min_in == 2 ? 4u : 1u)) return 0;
    dart_shape shape = DART_SHAPE(3, 2, n);
    if (op == DART_OP_fill) return dart_fill(b->g, shape, 1.25);
    dart_node x;
    if (op == DART_OP_sqrt || op == DART_OP_log || op == DART_OP_logit) {
        x = leaf(b, DART_REGION_PARAM, DART_F32, shape, op == DART_OP_logit ? inside : positive);
        b->x[b->xs++] = x;
    } else {
        x = param(b, shape);
    }
    if (info->min_in == 1) return dart_map1(b->g, op, x, 0.75, -0.5);
    /* second operand: same shape, row vector, matrix, one word */
    dart_shape second = kind == 0   ? shape
                        : kind == 1 ? DART_SHAPE(n)
                        : kind == 2 ? DART_SHAPE(2, n)
                                    : DART_SHAPE(1);
    dart_node y = leaf(b, DART_REGION_PARAM, DART_F32, second, op == DART_OP_div ? positive : draw);
    b->x[b->xs++] = y;
    return dart_map2(b->g, op, x, y, 0.75, -0.5);
}

static inline dart_node case_leaf(builder *b, uint32_t v)
{
    b->bit_exact = true;
    return v < SIZES ? dart_affine(b->g, param(b, DART_SHAPE(sizes[v])), 1, 0) : 0;
}

static inline dart_node case_store(builder *b, uint32_t v)
{
    if (v >= 2 * SIZES) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-10;
    dart_node x = param(b, DART_SHAPE(sizes[v % SIZES]));
    dart_node target = leaf(b, DART_REGION_OUTPUT, DART_F32, DART_SHAPE(sizes[v % SIZES]), nothing);
    compare_region(b, DART_REGION_OUTPUT);
    /* a computed value, and a leaf stored as it is */
    dart_store(b->g, target, v < SIZES ? dart_map1(b->g, DART_OP_square, x, 0, 0) : x);
    return dart_affine(b->g, x, 2, 0);
}

static inline dart_node case_reshape(builder *b, uint32_t v)
{
    b->bit_exact = true;
    if (v >= SIZES) return 0;
    return dart_reshape(b->g, param(b, DART_SHAPE(sizes[v], 6)), DART_SHAPE(2, sizes[v], 3));
}

static inline dart_node case_again(builder *b, uint32_t v)
{
    if (v >= 2) return 0;
    b->tolerance = 1e-12;
    dart_node x = param(b, DART_SHAPE(3, 5)), y = dart_affine(b->g, x, 2, 1);
    const dart_node_info again = {
        .op = DART_OP_again, .inputs = 1, .in = {v ? y : x}, .ints = 1, .i = {1}};
    return dart_mul(b->g, dart_graph_add(b->g, &again), y);
}

static inline dart_node case_permute(builder *b, uint32_t v)
{
    static const uint32_t orders[][5] = {{1, 0, 2, 3, 4}, {4, 3, 2, 1, 0}, {0, 2, 1, 4, 3},
        {2, 3, 4, 0, 1}, {0, 1, 2, 4, 3}, {3, 1, 4, 0, 2}};
    static const uint32_t dims[][5] = {{3, 5, 1, 7, 2}, {33, 1, 2, 3, 4}, {2, 2, 31, 1, 3}};
    if (v >= 18) return 0;
    b->bit_exact = true;
    return dart_permute(b->g, param(b, dart_shape_of(5, dims[v / 6])), orders[v % 6]);
}

static inline dart_node case_slice(builder *b, uint32_t v)
{
    if (v >= 2 * SIZES) return 0;
    b->bit_exact = true;
    uint32_t n = sizes[v % SIZES];
    dart_node x = param(b, DART_SHAPE(4, n));
    if (v >= SIZES) x = dart_affine(b->g, x, 0.5, 0); /* of a computed tensor */
    return dart_affine(b->g, dart_slice_rows(b->g, x, 1, 2), 2, 0);
}

static inline dart_node case_unslice(builder *b, uint32_t v)
{
    if (v >= SIZES) return 0;
    b->bit_exact = true;
    return dart_graph_add(b->g, &(dart_node_info){.op = DART_OP_unslice,
                                    .inputs = 1,
                                    .in = {param(b, DART_SHAPE(2, sizes[v]))},
                                    .ints = 2,
                                    .i = {1, 5}});
}

/* Parts that are made in their places and parts that are not: a leaf, the same value twice, a
 * slice, sums, a join in a join; beginnings that are aligned and others; more parts than an op
 * takes. */
static inline dart_node case_join(builder *b, uint32_t v)
{
    if (v >= 4 * SIZES) return 0;
    b->tolerance = 1e-12;
    const uint32_t n = sizes[v % SIZES], rows = v / SIZES % 2 ? 64 : 3;
    dart_node x = param(b, DART_SHAPE(rows, n)), y = param(b, DART_SHAPE(rows, n));
    dart_node w = param(b, DART_SHAPE(n, n));
    dart_node product = dart_contract2(b->g, "ij,jk->ik", x, w);
    if (v >= 2 * SIZES) { /* many */
        dart_node part[20];
        for (uint32_t i = 0; i < 20; i++) part[i] = dart_affine(b->g, i % 3 ? x : y, i + 0.5, i);
        return dart_mul(b->g, dart_join(b->g, 20, part), dart_join(b->g, 20, part));
    }
    dart_node sum = dart_add(b->g, product, dart_contract2(b->g, "ij,kj->ik", y, w));
    dart_node half = dart_affine(b->g, y, 0.5, 0.25);
    dart_node inner = dart_join(b->g, 2, (dart_node[]){sum, half});
    dart_node all =
        dart_join(b->g, 5, (dart_node[]){inner, x, half, half, dart_slice_rows(b->g, inner, 1, 2)});
    return dart_add(b->g, dart_mul(b->g, all, all),
        dart_join(b->g, 5, (dart_node[]){inner, half, x, x, dart_slice_rows(b->g, inner, 0, 2)}));
}

/* With a frozen matrix that is packed, in every format: rows as results and as what is summed over,
 * odd numbers of them, few that it is multiplied with as it is and more, a row alone, a result that
 * is turned, a third operand, two of them, and one that is unpacked panel by panel. */
static inline dart_node case_packed(builder *b, uint32_t v)
{
    enum { KINDS = 9 };
    if (v > KINDS * DART_PACKED_FORMATS) return 0;
    b->tolerance = 1e-9;
    if (v == KINDS * DART_PACKED_FORMATS)
        return dart_contract2(b->g, "ak,nk->an", param(b, DART_SHAPE(9, 8192)),
            packed_leaf(b, DART_PACKED_q4_1, 577, 8192));
    const dart_packed format = (dart_packed)(v / KINDS);
    const uint32_t block = dart_packed_info_of(format).block, k = block == 1 ? 33 : 3 * block;
    switch (v % KINDS) {
    case 0:
        return dart_contract2(
            b->g, "abk,nk->abn", param(b, DART_SHAPE(3, 5, k)), packed_leaf(b, format, 31, k));
    case 1:
        return dart_contract2(
            b->g, "nk,k->n", packed_leaf(b, format, 7, k), param(b, DART_SHAPE(k)));
    case 2:
        return dart_contract2(
            b->g, "an,nk->ka", param(b, DART_SHAPE(9, 5)), packed_leaf(b, format, 5, k));
    case 3:
        return dart_contract(b->g, "ak,nk,nr->ar", 3,
            (dart_node[]){param(b, DART_SHAPE(3, k)), packed_leaf(b, format, 5, k),
                param(b, DART_SHAPE(5, 2))});
    case 4:
        return dart_contract(b->g, "nk,mk,n->m", 3,
            (dart_node[]){packed_leaf(b, format, 5, k), packed_leaf(b, format, 4, k),
                param(b, DART_SHAPE(5))});
    case 5:
        return dart_contract2(
            b->g, "abk,nk->abn", param(b, DART_SHAPE(2, 4, k)), packed_leaf(b, format, 31, k));
    case 6:
        return dart_contract2(
            b->g, "ak,nk->na", param(b, DART_SHAPE(5, k)), packed_leaf(b, format, 33, k));
    case 7: /* x lies across what is summed */
        return dart_contract2(
            b->g, "ka,nk->an", param(b, DART_SHAPE(k, 3)), packed_leaf(b, format, 7, k));
    default:
        return dart_add(b->g, param(b, DART_SHAPE(4, 31)),
            dart_contract2(
                b->g, "ak,nk->an", param(b, DART_SHAPE(4, k)), packed_leaf(b, format, 31, k)));
    }
}

static inline dart_node case_contract(builder *b, uint32_t v)
{
    /* einsum and, per letter a.., its size */
    static const struct {
        const char *einsum;
        uint32_t size[8];
    } all[] = {
        {"ab,bc->ac", {3, 5, 7}},
        {"ab,cb->ac", {31, 33, 1}},
        {"ba,bc->ac", {33, 257, 3}},
        {"ab,bc->ca", {5, 31, 33}},
        {"ab,ab->a", {7, 9}},
        {"ab,ab->", {7, 9}},
        {"a,b->ab", {5, 6}},
        {"ab->a", {4, 31}},
        {"abc->ca", {3, 4, 5}},
        {"abc,adc->abd", {2, 3, 31, 5}},
        {"abcd,aecd->acbe", {2, 5, 3, 4, 7}},      /* attention scores (B,T,H,D) */
        {"acbe,aecd->abcd", {2, 5, 3, 4, 7}},      /* attention output */
        {"abcde,afce->acdbf", {2, 3, 2, 2, 4, 5}}, /* grouped heads */
        {"ab,bc,cd->ad", {33, 5, 3, 31}},
        {"abc,dbe,ecf->adf", {9, 3, 4, 5, 2, 2}},
        {"abc,bd,dce,ef->af", {17, 4, 3, 2, 5, 7}},
        {"ab,cd,ac->bd", {3, 4, 5, 6}},
        {"abc,cb->a", {1, 1, 1}},
        {"ab,bc->ac", {257, 1, 33}},
        {"ab,bc->ac", {1, 257, 1}},
        {"ab,cdb,cea,fc->def", {3, 4, 5, 2, 6, 3}},
    };
    const uint32_t plain = sizeof all / sizeof *all;
    if (v >= plain) return case_packed(b, v - plain);
    b->tolerance = 1e-9;
    dart_node operand[DART_MAX_IN];
    uint32_t n = 0;
    const char *at = all[v].einsum;
    do {
        dart_shape shape = {0};
        for (; *at >= 'a'; at++) shape.dim[shape.rank++] = all[v].size[*at - 'a'];
        operand[n++] = param(b, shape);
    } while (*at++ == ',');
    return dart_contract(b->g, all[v].einsum, n, operand);
}

static inline dart_node case_reduce(builder *b, uint32_t v)
{
    b->tolerance = 1e-10;
    uint32_t n = sizes[v % SIZES], kind = v / SIZES;
    dart_node x = kind < 6 ? param(b, DART_SHAPE(n, 3, 33)) : 0;
    switch (kind) {
    case 0:
        return dart_reduce_sum(b->g, x, 0, 1);
    case 1:
        return dart_reduce_sum(b->g, x, 1, 1);
    case 2:
        return dart_reduce_sum(b->g, x, 2, 1);
    case 3:
        return dart_sum_all(b->g, x);
    case 4:
        return dart_sumsq_all(b->g, x);
    case 5:
        b->no_gradient = b->bit_exact = true;
        return dart_bad_count(b->g, x);
    default:
        return 0;
    }
}

static inline dart_node case_norm(builder *b, uint32_t v)
{
    if (v >= 2 * (SIZES - 1)) return 0;
    b->tolerance = 1e-10;
    uint32_t cols = sizes[1 + v % (SIZES - 1)];
    dart_node x = param(b, DART_SHAPE(3, 11, cols)), w = param(b, DART_SHAPE(cols));
    if (v >= SIZES - 1) return dart_rmsnorm(b->g, x, w, 1e-5);
    return dart_layernorm(b->g, x, w, param(b, DART_SHAPE(cols)), 1e-5);
}

/* norm_dx, norm_dw: outputs compared here, meaning checked by case_norm's differences */
static inline dart_node gradient_of_norm(builder *b, dart_op op, uint32_t v)
{
    if (v >= 2 * (SIZES - 1)) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-8;
    uint32_t cols = sizes[1 + v % (SIZES - 1)];
    dart_node x = param(b, DART_SHAPE(67, cols)), w = param(b, DART_SHAPE(cols)),
              dy = param(b, DART_SHAPE(67, cols));
    dart_node_info info = {.op = op, .ints = 1, .i = {v >= SIZES - 1}, .floats = 1, .f = {1e-5}};
    if (op == DART_OP_norm_dx) {
        info.inputs = 3, info.in[0] = x, info.in[1] = w, info.in[2] = dy;
    } else {
        info.inputs = 2, info.in[0] = x, info.in[1] = dy;
    }
    return dart_graph_add(b->g, &info);
}

static inline dart_node case_norm_dx(builder *b, uint32_t v)
{
    return gradient_of_norm(b, DART_OP_norm_dx, v);
}

static inline dart_node case_norm_dw(builder *b, uint32_t v)
{
    return gradient_of_norm(b, DART_OP_norm_dw, v);
}

static inline dart_node case_unpack(builder *b, uint32_t v)
{
    if (v >= 2 * DART_PACKED_FORMATS) return 0;
    const dart_packed format = (dart_packed)(v / 2);
    b->tolerance = 1e-12;
    b->no_gradient = true;
    return dart_unpack(
        b->g, packed_leaf(b, format, v % 2 ? 1 : 31, 3 * dart_packed_info_of(format).block));
}

static inline dart_node case_gather(builder *b, uint32_t v)
{
    if (v >= SIZES + DART_PACKED_FORMATS) return 0;
    b->tolerance = 1e-12;
    if (v >= SIZES) {
        const dart_packed format = (dart_packed)(v - SIZES);
        dart_node at, unused,
            of = packed_leaf(b, format, 13, 3 * dart_packed_info_of(format).block);
        tokens(b, 13, 29, &at, &unused);
        return dart_lookup(b->g, of, at);
    }
    dart_node ids, index, w = param(b, DART_SHAPE(13, sizes[v]));
    tokens(b, 13, 29, &ids, &index);
    return dart_embedding(b->g, w, ids, index);
}

static inline dart_node case_scatter(builder *b, uint32_t v)
{
    if (v >= 2 * SIZES) return 0;
    b->tolerance = 1e-10;
    dart_node ids, index, dy = param(b, DART_SHAPE(29, sizes[v % SIZES]));
    tokens(b, 13, 29, &ids, &index);
    if (v >= SIZES) return dart_scatter_sum(b->g, dy, ids, index, 13);
    b->no_gradient = true;
    return dart_graph_add(
        b->g, &(dart_node_info){
                  .op = DART_OP_scatter, .inputs = 2, .in = {dy, index}, .ints = 1, .i = {13}});
}

static inline dart_node case_rope(builder *b, uint32_t v)
{
    static const uint32_t shapes[][4] = {{1, 1, 1, 2}, {2, 5, 3, 4}, {1, 33, 2, 6}, {3, 3, 1, 32}};
    if (v >= 4) return 0;
    b->tolerance = 1e-10;
    const uint32_t *s = shapes[v];
    return dart_rope(b->g, param(b, dart_shape_of(4, s)), table(b, DART_SHAPE(s[1], s[3] / 2, 2)));
}

static inline double position_value(builder *b, uint64_t i)
{
    (void)b;
    return (double)(3 + i);
}

static inline dart_node case_cache_write(builder *b, uint32_t v)
{
    static const uint32_t shapes[][5] = {
        {1, 1, 4, 1, 2}, {2, 3, 9, 2, 8}, {1, 5, 6, 3, 16}, {3, 1, 33, 1, 33}};
    if (v >= 4) return 0;
    b->no_gradient = b->bit_exact = true;
    const uint32_t *s = shapes[v]; /* B, T, S, H, D; the third writes past the end */
    dart_node k = param(b, DART_SHAPE(s[0], s[1], s[3], s[4]));
    dart_node value = param(b, DART_SHAPE(s[0], s[1], s[3], s[4]));
    dart_node cache = table(b, DART_SHAPE(2, s[0], s[2], s[3], s[4]));
    dart_node at = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(s[1]), position_value);
    dart_node after = dart_cache_write(b->g, cache, k, value, at);
    compare_region(b, DART_REGION_TABLE);
    return dart_permute(b->g, after, (uint32_t[]){4, 1, 2, 3, 0});
}

static inline dart_node case_attend(builder *b, uint32_t v)
{
    static const uint32_t shapes[][6] = {{1, 1, 1, 1, 4, 2}, {2, 3, 4, 2, 9, 8},
        {1, 5, 6, 3, 6, 16}, {2, 1, 4, 1, 133, 33}, {1, 40, 2, 2, 150, 20}};
    if (v >= 5) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-10;
    const uint32_t *s = shapes[v]; /* B, T, H, H', S, D */
    dart_node q = param(b, DART_SHAPE(s[0], s[1], s[2], s[5]));
    dart_node cache = table(b, DART_SHAPE(2, s[0], s[4], s[3], s[5]));
    dart_node at = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(s[1]), position_value);
    return dart_attend(b->g, q, cache, at, 0.7);
}

/* Lengths 0, 1, 2, 4, 8 ... */
static inline double length_value(builder *b, uint64_t i)
{
    (void)b;
    return i ? (double)(1u << (i - 1)) : 0;
}

/* 0, 0, 2, 2, 4, 4 ... and one that sees nothing */
static inline double start_value(builder *b, uint64_t i)
{
    (void)b;
    return i == 5 ? 1000 : (double)(i % 7 / 2 * 2);
}

static inline dart_node case_softmax(builder *b, uint32_t v)
{
    if (v >= 6 * SIZES) return 0;
    if (v >= 5 * SIZES) { /* documents behind each other */
        uint32_t cols = sizes[v % SIZES], rows = cols < 7 ? cols : 7;
        dart_node starts = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(3, rows), start_value);
        b->tolerance = 1e-9;
        return dart_softmax_starts(b->g, param(b, DART_SHAPE(3, 2, rows, cols)), starts, 0.7);
    }
    if (v >= 3 * SIZES) { /* padding hidden: full, and causal */
        uint32_t cols = sizes[v % SIZES], rows = v < 4 * SIZES ? 3 : cols < 4 ? cols : 4;
        dart_node lengths = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(7), length_value);
        b->tolerance = 1e-9;
        return dart_softmax_lengths(
            b->g, param(b, DART_SHAPE(7, 2, rows, cols)), lengths, 0.7, v >= 4 * SIZES);
    }
    b->tolerance = 1e-9;
    uint32_t n = sizes[v % SIZES];
    if (v < SIZES) return dart_softmax(b->g, param(b, DART_SHAPE(2, 3, n)), 0.7, false);
    uint32_t rows =
        v < 2 * SIZES ? n : (n + 1) / 2; /* square, then queries at the end of the keys */
    if (n == 257) rows = rows > 33 ? 33 : rows;
    return dart_softmax(b->g, param(b, DART_SHAPE(2, rows, n)), 0.7, true);
}

static inline dart_node case_softmax_dx(builder *b, uint32_t v)
{
    if (v >= SIZES) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-9;
    dart_node y = dart_softmax(b->g, param(b, DART_SHAPE(5, sizes[v])), 1, false);
    return dart_graph_add(b->g, &(dart_node_info){.op = DART_OP_softmax_dx,
                                    .inputs = 2,
                                    .in = {y, param(b, DART_SHAPE(5, sizes[v]))},
                                    .floats = 1,
                                    .f = {0.7}});
}

static inline dart_node case_dropout(builder *b, uint32_t v)
{
    static const double rates[] = {0, 0.1, 0.5};
    if (v >= 3 * SIZES) return 0;
    b->tolerance = 1e-12;
    return dart_dropout(
        b->g, param(b, DART_SHAPE(3, sizes[v % SIZES])), iscal(b), rates[v / SIZES], 17 + v);
}

static inline dart_node case_uniform(builder *b, uint32_t v)
{
    if (v >= SIZES) return 0;
    b->no_gradient = b->bit_exact = true;
    return dart_noise(b->g, iscal(b), sizes[v], 17 + v);
}

static inline double label_value(builder *b, uint64_t i)
{
    (void)b;
    return i == 2 ? -1 : (double)(i * 7 % 3); /* row 2 is ignored */
}

static inline dart_node case_cross_entropy(builder *b, uint32_t v)
{
    static const double smoothings[] = {0, 0.1, 0.9};
    if (v >= 3 * (SIZES - 1)) return 0;
    b->tolerance = 1e-9;
    uint32_t cols = sizes[1 + v % (SIZES - 1)], rows = 5;
    double smoothing = smoothings[v / (SIZES - 1)];
    dart_node x = param(b, DART_SHAPE(rows, cols));
    dart_node labels = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(rows), label_value);
    uint32_t valid = cols > 3 ? cols - 2 : cols; /* the last columns are padding */
    dart_node stats = dart_cross_entropy_smoothed(b->g, x, labels, valid, smoothing);
    dart_node dx = dart_cross_entropy_smoothed_dx(b->g, x, stats, labels, valid, 1, smoothing);
    dart_node pick = dart_contract2(b->g, "kr,k->", stats,
        dart_reshape(b->g,
            dart_graph_add(b->g, &(dart_node_info){.op = DART_OP_unslice,
                                     .inputs = 1,
                                     .in = {dart_fill(b->g, DART_SHAPE(1), 1)},
                                     .ints = 2,
                                     .i = {1, 2}}),
            DART_SHAPE(2)));
    return dart_with_grad(b->g, pick, 1, &x, &dx);
}

static inline dart_node case_cross_entropy_dx(builder *b, uint32_t v)
{
    if (v >= 2 * (SIZES - 1)) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-9;
    uint32_t cols = sizes[1 + v % (SIZES - 1)], rows = 5;
    double smoothing = v < SIZES - 1 ? 0 : 0.2;
    dart_node x = param(b, DART_SHAPE(rows, cols));
    dart_node labels = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(rows), label_value);
    dart_node stats = dart_cross_entropy(b->g, x, labels, cols);
    return dart_cross_entropy_smoothed_dx(b->g, x, stats, labels, cols, 0.125, smoothing);
}

static inline dart_node case_with_grad(builder *b, uint32_t v)
{
    if (v >= SIZES) return 0;
    b->tolerance = 1e-9;
    dart_node x = param(b, DART_SHAPE(sizes[v])), y = param(b, DART_SHAPE(sizes[v]));
    dart_node loss = dart_contract2(b->g, "a,a->", x, y);
    return dart_with_grad(b->g, loss, 2, (dart_node[]){x, y}, (dart_node[]){y, x});
}

static inline dart_node case_spd_fn(builder *b, uint32_t v)
{
    static const uint32_t n[] = {1, 2, 3, 16, 31, 33};
    /* fn 0; then powers of matrices; then sums, whose smoothing scale is constant for mu = 0 only
     */
    static const double powers[] = {0.5, -0.5, -1, -0.75, 0.5, 0.25, 0, 0.5, 0.3};
    static const double mus[] = {0, 1e-2, 1e-2, 1e-2, 0, 0, 0, 1e-2, 1e-2};
    enum { KINDS = sizeof powers / sizeof *powers };
    if (v >= 6 * KINDS) return 0;
    uint32_t size = n[v % 6], kind = v / 6, fn = kind == 0 ? 0 : kind < 4 ? 1 : 2;
    b->no_gradient = fn != 2 || mus[kind] > 0;
    b->tolerance = 1e-8;
    dart_node a = param(b, DART_SHAPE(3, size, size + 2));
    dart_node s = dart_affine(b->g, dart_contract2(b->g, "bij,bkj->bik", a, a), 1.0 / size, 0);
    return dart_graph_add(b->g, &(dart_node_info){.op = DART_OP_spd_fn,
                                    .inputs = 1,
                                    .in = {s},
                                    .ints = 1,
                                    .i = {fn},
                                    .floats = 2,
                                    .f = {mus[kind], powers[kind]}});
}

static inline dart_node case_gram_spectral(builder *b, uint32_t v)
{
    static const uint32_t r[] = {1, 2, 5, 16};
    static const double p[] = {1, 0.5, 0, 1, 0.5, 0};
    if (v >= 24) return 0;
    uint32_t n = r[v % 4], kind = v / 4;
    b->tolerance = 1e-7;        /* through eigenvalues of f32 Gram matrices */
    b->no_gradient = kind >= 3; /* smoothed relative to a value that the gradient holds constant */
    dart_node left = param(b, DART_SHAPE(n + 3, n)), right = param(b, DART_SHAPE(n, n + 4));
    return dart_gram_spectral(b->g, dart_contract2(b->g, "ia,ib->ab", left, left),
        dart_contract2(b->g, "aj,bj->ab", right, right), kind < 3 ? 0 : 0.1, p[kind]);
}

static inline dart_node case_adamw(builder *b, uint32_t v)
{
    if (v >= SIZES) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-10;
    uint32_t n = sizes[v];
    table(b, DART_SHAPE(5)); /* shifts nothing that matters: the region only has to exist */
    dart_node first = param(b, DART_SHAPE(3)), p = param(b, DART_SHAPE(n));
    dart_node g = leaf(b, DART_REGION_GRAD, DART_F32, DART_SHAPE(64 + n), draw);
    uint32_t total = (uint32_t)b->data.words[DART_REGION_PARAM];
    dart_node mv = leaf(b, DART_REGION_MOMENT, DART_F32, DART_SHAPE(2, total), positive);
    dart_node grad = dart_leaf(b->g, "g", DART_F32, DART_SHAPE(n), DART_REGION_GRAD, 64);
    dart_adamw(b->g, p, grad, mv, fscal(b), 0.9, 0.999, 1e-8, 0.1);
    compare_region(b, DART_REGION_PARAM);
    compare_region(b, DART_REGION_MOMENT);
    (void)g;
    return dart_affine(b->g, first, 2, 0);
}

static inline dart_node case_axpy_scalar(builder *b, uint32_t v)
{
    if (v >= SIZES) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-10;
    dart_node p = param(b, DART_SHAPE(sizes[v])), x = table(b, DART_SHAPE(sizes[v]));
    dart_axpy_scalar(b->g, p, x, fscal(b), 6, -1);
    compare_region(b, DART_REGION_PARAM);
    return dart_affine(b->g, x, 2, 0);
}

static inline dart_node case_clip(builder *b, uint32_t v)
{
    static const double limits[] = {0, 0.5, 1e6};
    if (v >= 3) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-10;
    dart_node x = param(b, DART_SHAPE(33)), f = fscal(b);
    dart_clip(b->g, dart_sumsq_all(b->g, x), f, limits[v]);
    compare_region(b, DART_REGION_FSCAL);
    return dart_affine(b->g, x, 2, 0);
}

typedef dart_node (*op_case)(builder *b, uint32_t variant);
static const op_case cases[DART_OPS] = {
#define OP(name, ...) [DART_OP_##name] = case_##name,
#include "ops.def"
#undef OP
};

#endif
