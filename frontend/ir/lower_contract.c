/* Pairwise contracts as launches. */
#include "lower.h"

/* Whether operand i of a contract is packed. */
static bool packed(const dart_lowering *low, dart_node node, int i)
{
    return dart_dtype_packed(
        dart_node_get(low->graph, dart_node_get(low->graph, node)->in[i])->dtype);
}

/* A packed matrix of a region, which contracts may multiply as it is or unpack in panels. */
static bool packed_matrix(const dart_lowering *low, dart_node node, int i)
{
    const dart_node in = dart_node_get(low->graph, node)->in[i];
    return packed(low, node, i) && dart_node_get(low->graph, in)->shape.rank == 2 &&
           dart_node_get(low->graph, low->root[in])->op == DART_OP_leaf;
}

/* Numbers of operand i that gemm reads in 16 bits: of the arena, without gaps. */
static uint32_t half_of(const dart_lowering *low, dart_node node, int i)
{
    return packed_matrix(low, node, i)
               ? 0
               : dart_in_half(low, dart_node_get(low->graph, node), (uint32_t)i);
}

/* A product with a tensor of ones that shares no label is a copy with repeats. */
static dart_status broadcast(
    dart_lowering *low, dart_node node, const dart_einsum *e, const dart_labels t[3], bool *done)
{
    const dart_node_info *info = dart_node_get(low->graph, node);
    *done = false;
    if (low->alpha[node] != 1 || low->into[node] || low->thin[node] || low->plus[node] ||
        packed(low, node, 0) || packed(low, node, 1))
        return DART_OK;
    for (int i = 0; i < 2; i++) {
        const dart_node_info *ones = dart_node_get(low->graph, low->root[info->in[i]]);
        if (ones->op != DART_OP_fill || ones->f[0] != 1) continue;
        if (dart_labels_mask(&t[0]) & dart_labels_mask(&t[1])) continue;
        dart_walk w = dart_walk_labels(e->dim, &t[!i], &t[2]);
        if (w.axes > DART_WALK_AXES) continue;
        DART_TRY(dart_value_output(low, node));
        *done = true;
        return dart_emit_walk(low, node, &w, low->value[info->in[!i]], 0, low->value[node]);
    }
    return DART_OK;
}

/* What one launch of a product sums at most. */
enum { SUM_MOST = 32768 };

/* How many parts the sum of a small matrix is made in at the same time, so that many work-groups
 * have something to do (split-K): 1, or a divisor of k, as parts are the matrices of one batch.
 * They begin at a multiple of ALIGN, so that a batch can be cut where bindings are short (split.c).
 */
static uint32_t sum_parts(const gemm_params *p)
{
    enum { MATRIX_MOST = 131072, SUM_LEAST = 2048, PART_LEAST = 256, MOST = 16, ALIGN = 64 };
    if (p->k < SUM_LEAST || (uint64_t)p->m * p->n > MATRIX_MOST || p->beta != 0) return 1;
    if (p->batch0 * p->batch1 * p->batch2 > 1 || p->ldc != p->n) return 1;
    uint32_t parts = MOST;
    while (parts > 1 && (p->k % (parts * ALIGN) || p->k / parts < PART_LEAST)) parts--;
    return parts;
}

/* Lets matrix units round what is multiplied, if it carries tokens. f16 has nothing below 2^-24,
 * where many gradients are, the mean of a loss over thousands of tokens: they are multiplied by
 * 2^12, so that those from 2^-26 to 16 keep all their bits. bf16 has the exponents of f32. */
static void allow_narrow(const dart_lowering *low, const dart_node_info *info, dart_gemm_plan *plan)
{
    enum { GRADIENT_SCALE = 4096 };
    if (!low->role) return;
    const dart_role a = low->role[info->in[plan->swap]], b = low->role[info->in[!plan->swap]];
    const dart_dtype type = dart_graph_products_of(low->graph);
    const float scale = type == DART_DTYPE(DART_PACKED_f16) ? GRADIENT_SCALE : 1;
    if (a == DART_ROLE_NONE && b == DART_ROLE_NONE) return;
    plan->narrow = dart_half_of(type);
    plan->param.scale_a = a == DART_ROLE_GRADIENT ? scale : 1;
    plan->param.scale_b = b == DART_ROLE_GRADIENT ? scale : 1;
}

static void set_modes(dart_launch *launch, const dart_gemm_plan *plan)
{
    launch->tune[DART_GEMM_TA] = plan->ta;
    launch->tune[DART_GEMM_TB] = plan->tb;
    launch->tune[DART_GEMM_AH] = plan->half[0];
    launch->tune[DART_GEMM_BH] = plan->half[1];
    launch->tune[DART_GEMM_CH] = plan->half[2];
    launch->tune[DART_GEMM_NARROW] = plan->narrow;
}

/* The parts of a sum as a batch, and their sum. */
static dart_status emit_parts(dart_lowering *low, dart_node node, const dart_gemm_plan *plan,
    uint32_t parts, const dart_value value[4])
{
    gemm_params p = plan->param;
    const uint64_t words = (uint64_t)p.m * p.n;
    dart_value at[4] = {value[0], value[1], {0}, value[0]};
    DART_TRY(dart_emit_new(low, node, words * parts, &at[2]));
    p.k /= parts;
    p.batch0 = parts;
    p.a0 = p.k * (plan->ta ? p.lda : 1);
    p.b0 = p.k * (plan->tb ? 1 : p.ldb);
    p.c0 = (uint32_t)words;
    dart_launch *launch = dart_emit(low, DART_K_gemm, node, 4, at, &p);
    if (!launch) return DART_MEMORY;
    set_modes(launch, plan);
    launch->tune[DART_GEMM_CH] = 0;
    return dart_emit_reduce(low, node, 0, at[2], 1, parts, words, value[2]);
}

/* Behind so many numbers of a value, which are even where they have 16 bits. */
static void skip_numbers(dart_value *value, uint64_t numbers, uint32_t half)
{
    const uint64_t words = half ? numbers / 2 : numbers;
    value->offset += words;
    value->words -= words;
}

/* The launches of a gemm. A long sum is made in parts that add up in the result: Mesa's processor
 * driver silently leaves a loop after 65,535 rounds, and short dispatches suit watchdogs. */
static dart_status emit_gemm(
    dart_lowering *low, dart_node node, const dart_gemm_plan *plan, const dart_value value[4])
{
    enum { ALIGN = 64 };
    gemm_params p = plan->param;
    const uint32_t split = plan->add ? 1 : sum_parts(&p);
    if (split > 1 && p.k / split <= SUM_MOST) return emit_parts(low, node, plan, split, value);
    const uint32_t k = p.k, parts = k > SUM_MOST ? (k + SUM_MOST - 1) / SUM_MOST : 1;
    const uint32_t per = (uint32_t)dart_round_up((k + parts - 1) / parts, ALIGN);
    uint32_t start = 0;
    do {
        const uint64_t skip_a = (uint64_t)start * (plan->ta ? p.lda : 1);
        const uint64_t skip_b = (uint64_t)start * (plan->tb ? 1 : p.ldb);
        p.k = parts > 1 && k - start > per ? per : k - start;
        dart_value part[4] = {value[0], value[1], value[2]};
        skip_numbers(&part[0], skip_a, plan->half[0]);
        skip_numbers(&part[1], skip_b, plan->half[1]);
        part[3] = plan->add && !start ? value[3] : part[0];
        dart_launch *launch = dart_emit(low, DART_K_gemm, node, 4, part, &p);
        if (!launch) return DART_MEMORY;
        launch->tune[DART_GEMM_ADD] = plan->add && !start;
        set_modes(launch, plan);
        p.beta = 1;
        start += p.k;
    } while (start < k);
    return DART_OK;
}

/* Words of a packed matrix that are numbers at one time, and what its rows are then counted by, so
 * that slices stay aligned. */
enum { PANEL = 1 << 22, PANEL_ROWS = 64 };

/* gemms of rows of a packed matrix, one panel after the other: `w` is the second (turned: first)
 * matrix of the product. Its rows are rows or columns of the result, or what is summed over. */
static dart_status emit_panels(dart_lowering *low, dart_node node, dart_node w,
    const dart_gemm_plan *plan, const dart_value value[4], bool turned)
{
    const uint32_t *dim = dart_node_get(low->graph, w)->shape.dim;
    const uint32_t fit = PANEL / dim[1] / PANEL_ROWS * PANEL_ROWS, per = fit ? fit : PANEL_ROWS;
    const bool summed = turned ? plan->ta : !plan->tb;
    for (uint32_t first = 0; first < dim[0]; first += per) {
        const uint32_t rows = dim[0] - first < per ? dim[0] - first : per;
        dart_gemm_plan part = *plan;
        gemm_params *p = &part.param;
        dart_value at[4] = {value[0], value[1], value[2], value[3]};
        uint64_t skip[4] = {0};
        DART_TRY(dart_emit_new(low, node, (uint64_t)rows * dim[1], &at[!turned]));
        DART_TRY(dart_emit_unpack(low, node, w, first, rows, NULL, at[!turned]));
        if (summed) {
            p->k = rows;
            skip[turned] =
                (uint64_t)first * (turned ? (plan->tb ? 1 : p->ldb) : (plan->ta ? p->lda : 1));
            if (first) p->beta = 1;
            part.add &= !first;
        } else if (turned) {
            p->m = rows;
            skip[2] = (uint64_t)first * p->ldc;
            skip[3] = (uint64_t)first * p->ldd;
        } else {
            p->n = rows;
            skip[2] = skip[3] = first;
        }
        for (int i = 0; i < 4; i++) skip_numbers(&at[i], skip[i], i < 3 ? plan->half[i] : 0);
        DART_TRY(emit_gemm(low, node, &part, at));
    }
    return DART_OK;
}

/* A packed operand that need not be numbers as a whole: it is large, and a plain matrix of the
 * product. -1: none. */
static int paneled(const dart_lowering *low, dart_node node, const dart_gemm_plan *plan)
{
    const gemm_params *p = &plan->param;
    const dart_node_info *info = dart_node_get(low->graph, node);
    if (p->batch0 > 1 || p->batch1 > 1 || p->batch2 > 1) return -1;
    for (int i = 0; i < 2; i++) {
        const dart_shape *w = dart_in_shape(low, info, (uint32_t)i);
        if (packed_matrix(low, node, i) && !packed_matrix(low, node, !i) && !plan->permute[i] &&
            !plan->permute[2] && w->dim[0] > 1 && w->dim[1] > 1 && dart_shape_words(w) > PANEL)
            return i;
    }
    return -1;
}

/* Rows of the other operand up to which a packed matrix is multiplied as it is, rather than as
 * numbers in the arena; and what is summed at most, as in emit_gemm. */
enum { FEW_ROWS = 8, FEW_SUM = 32768 };

/* The operand of a product that gemm_packed multiplies: a plain packed matrix whose rows are summed
 * over with few rows of the other operand. -1: none. */
static int multiplied_packed(
    const dart_lowering *low, dart_node node, const dart_gemm_plan *plan, bool *turned)
{
    const gemm_params *p = &plan->param;
    const dart_node_info *info = dart_node_get(low->graph, node);
    if (p->batch0 > 1 || p->batch1 > 1 || p->batch2 > 1 || p->k > FEW_SUM) return -1;
    if (plan->permute[0] || plan->permute[1] || plan->permute[2]) return -1;
    for (int i = 0; i < 2; i++) {
        const dart_shape *w = dart_in_shape(low, info, (uint32_t)i);
        if (!packed_matrix(low, node, i) || packed(low, node, !i)) continue;
        if (w->dim[0] < 2 || w->dim[1] < 2) continue;
        *turned = i == (plan->swap ? 1 : 0);
        const bool rows = *turned ? !plan->ta : plan->tb;
        const bool along = *turned ? plan->tb || (p->n == 1 && p->ldb == 1) : !plan->ta;
        if (rows && along && (*turned ? p->n : p->m) <= FEW_ROWS) return i;
    }
    return -1;
}

/* Products of few rows with a packed matrix `w`, so many rows of it at a time as a binding holds.
 */
static dart_status emit_packed(dart_lowering *low, dart_node node, dart_node w,
    const dart_gemm_plan *plan, const dart_value value[3], bool turned)
{
    const dart_node_info *info = dart_node_get(low->graph, w);
    const dart_packed format = dart_dtype_format(info->dtype);
    const gemm_params *g = &plan->param;
    const uint32_t total = info->shape.dim[0], pitch = dart_packed_pitch(format, g->k);
    const uint64_t fit = low->caps->max_binding / low->caps->word / pitch / PANEL_ROWS * PANEL_ROWS;
    const uint32_t per = fit && fit < total ? (uint32_t)fit : total;
    gemm_packed_params p = {.m = turned ? g->n : g->m,
        .k = g->k,
        .pitch = pitch,
        .codes = dart_packed_codes(format, g->k),
        .ldx = turned ? (g->n == 1 ? g->k : g->ldb) : g->lda,
        .y_row = turned ? 1 : g->ldc,
        .y_col = turned ? g->ldc : 1,
        .alpha = g->alpha,
        .beta = g->beta};
    for (uint32_t first = 0; first < total; first += per) {
        p.n = total - first < per ? total - first : per;
        dart_value at[3] = {value[turned ? 1 : 0], value[turned ? 0 : 1], value[2]};
        at[1].offset += (uint64_t)first * pitch;
        at[1].words = (uint64_t)p.n * pitch;
        at[2].offset += (uint64_t)first * p.y_col;
        at[2].words -= (uint64_t)first * p.y_col;
        dart_launch *launch = dart_emit(low, DART_K_gemm_packed, node, 3, at, &p);
        if (!launch) return DART_MEMORY;
        launch->tune[DART_GEMM_PACKED_FORMAT] = format;
    }
    return DART_OK;
}

/* Has what is added to a product be read by its gemm: a matrix like the result, or a row that is
 * repeated. False: it cannot be, or long sums that are made in parts would not be any more. */
static bool reads_added(dart_gemm_plan *plan, uint64_t result, uint64_t added)
{
    gemm_params *p = &plan->param;
    uint32_t *const step[] = {&p->d0, &p->d1, &p->d2};
    const uint32_t of_c[] = {p->c0, p->c1, p->c2}, count[] = {p->batch0, p->batch1, p->batch2};
    uint64_t reach = p->n;
    if (plan->permute[2] || sum_parts(p) > 1) return false;
    p->ldd = added == result ? p->ldc : 0;
    for (int i = 0; i < 3; i++) {
        const uint32_t used = count[i] > 1 ? of_c[i] : 0;
        *step[i] = added == result || used % added ? used : 0;
        reach += (uint64_t)(count[i] - 1) * *step[i];
    }
    return added == result || (p->ldc % added == 0 && reach <= added);
}

/* result += added, whose words repeat. */
static dart_status emit_added(
    dart_lowering *low, dart_node node, dart_value result, dart_value added)
{
    const bool spread = result.words != added.words;
    const map_params p = {
        .n = (uint32_t)result.words, .bdiv = 1, .bmod = (uint32_t)added.words, .s = 1};
    dart_launch *launch =
        dart_emit(low, DART_K_map, node, 3, (dart_value[]){result, added, result}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_MAP_OP] = DART_OP_add - DART_OP_copy;
    launch->tune[DART_MAP_BC] = spread;
    return DART_OK;
}

/* Can the gemm make its result in 16 bits? Not where it is made in parts, in another order or adds
 * to what is there; on processors with vectors no sum beyond 256, as their panels go through C. */
static bool makes_halves(const dart_lowering *low, dart_node node, const dart_gemm_plan *plan)
{
    const gemm_params *p = &plan->param;
    if (plan->permute[2] || low->into[node] || (low->plus[node] && !plan->add)) return false;
    if (p->k > (low->caps->simd > 1 ? 256 : SUM_MOST) || sum_parts(p) > 1) return false;
    return !((p->n | p->ldc | p->c0 | p->c1 | p->c2) & 1);
}

dart_status dart_lower_contract(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    char name[160];
    dart_einsum e;
    dart_labels t[3];
    dart_gemm_plan plan;
    bool done;
    if (info->inputs != 2)
        return dart_fail(DART_FAILED,
            "%s has %u operands; dart_optimize makes contracts pairwise before they are lowered",
            dart_node_describe(low->graph, node, name), info->inputs);
    DART_TRY(dart_einsum_read(low->graph, node, &e));
    dart_pair_labels(&e, t);
    DART_TRY(broadcast(low, node, &e, t, &done));
    if (done) return DART_OK;
    if (!dart_gemm_choose(e.dim, t, low->into[node], &low->cost, &plan))
        return dart_fail(DART_FAILED,
            "%s sums a label that only one operand has, or loops over more axes than a gemm "
            "carries",
            dart_node_describe(low->graph, node, name));
    DART_TRY(dart_value_output(low, node));
    dart_value value[3] = {low->value[info->in[0]], low->value[info->in[1]], low->value[node]};
    const uint64_t words = dart_shape_words(&info->shape);
    bool turned = false;
    const int as_it_is = multiplied_packed(low, node, &plan, &turned);
    const int panels = as_it_is < 0 ? paneled(low, node, &plan) : -1;
    for (int i = 0; i < 2; i++) {
        if (!packed(low, node, i) || i == panels || i == as_it_is) continue;
        const dart_shape *w = dart_in_shape(low, info, (uint32_t)i);
        plan.half[i == (plan.swap ? 0 : 1)] = plan.permute[i] ? 0 : half_of(low, node, i);
        if (plan.half[i == (plan.swap ? 0 : 1)]) continue;
        const uint64_t rows = dart_shape_words(w) / dart_last_dim(w);
        DART_TRY(dart_emit_new(low, node, dart_shape_words(w), &value[i]));
        DART_TRY(dart_emit_unpack(low, node, info->in[i], 0, (uint32_t)rows, NULL, value[i]));
    }
    gemm_params *p = &plan.param;
    p->alpha = (float)low->alpha[node];
    p->beta = low->into[node] ? 1 : 0;
    allow_narrow(low, info, &plan);
    dart_value added = {0};
    if (low->plus[node]) {
        const dart_node_info *of = dart_node_get(low->graph, low->plus[node]);
        if (of->op == DART_OP_leaf) DART_TRY(dart_lower_leaf(low, low->plus[node], of));
        added = low->value[low->plus[node]];
        plan.add = as_it_is < 0 && reads_added(&plan, words, added.words);
    }
    if (low->thin[node] && as_it_is < 0 && panels < 0 && makes_halves(low, node, &plan))
        plan.half[2] = dart_out_half(low, node);
    else if (low->thin[node])
        DART_TRY(dart_emit_new(low, node, words, &value[2]));
    dart_value seen[3] = {value[0], value[1], value[2]};
    for (int i = 0; i < 3; i++) {
        if (!plan.permute[i]) continue;
        DART_TRY(dart_emit_new(low, node, value[i].words, &seen[i]));
        if (i < 2)
            DART_TRY(dart_emit_permute(low, node, e.dim, &t[i], value[i], &plan.order[i], seen[i]));
    }
    const dart_value of_gemm[4] = {seen[plan.swap], seen[!plan.swap], seen[2], added};
    if (as_it_is >= 0)
        DART_TRY(emit_packed(low, node, info->in[as_it_is], &plan, of_gemm, turned));
    else
        DART_TRY(panels < 0 ? emit_gemm(low, node, &plan, of_gemm)
                            : emit_panels(low, node, info->in[panels], &plan, of_gemm,
                                  panels == (plan.swap ? 1 : 0)));
    low->flops += 2.0 * p->m * p->n * p->k * p->batch0 * p->batch1 * p->batch2;
    if (plan.permute[2])
        DART_TRY(dart_emit_permute(low, node, e.dim, &plan.order[2], seen[2], &t[2], value[2]));
    if (low->plus[node] && !plan.add) DART_TRY(emit_added(low, node, value[2], added));
    if (!low->thin[node] || plan.half[2]) return DART_OK;
    return dart_emit_pack(
        low, node, value[2], dart_node_get(low->graph, low->thin[node])->dtype, low->value[node]);
}
