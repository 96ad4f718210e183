/* Which fixed operands of a contract to multiply beforehand: for weights that do not change while
 * the first operand does, as in inference. */
#include "planner.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool without_first(void *user, uint32_t subset)
{
    (void)user;
    return !(subset & 1) && (subset & (subset - 1));
}

static void append(const dart_einsum *e, dart_labels *to, const dart_labels *from, uint64_t mask)
{
    (void)e;
    for (uint32_t i = 0; i < from->rank; i++)
        if (mask >> from->at[i] & 1 && !(dart_labels_mask(to) >> from->at[i] & 1))
            to->at[to->rank++] = from->at[i];
}

/* The label order of a merged group. One with output and summed digits becomes a matrix (outputs,
 * bonds, summed); others keep the order of their operands, in which a chain is multiplied. */
static dart_labels group_order(const dart_einsum *e, uint32_t set)
{
    uint64_t inside = 0, outside = dart_labels_mask(&e->out);
    for (uint32_t i = 0; i < e->operands; i++)
        *(set >> i & 1 ? &inside : &outside) |= dart_labels_mask(&e->in[i]);
    const uint64_t open = inside & outside, first = dart_labels_mask(&e->in[0]);
    const uint64_t rows = open & dart_labels_mask(&e->out), columns = open & first & ~rows;
    dart_labels order = {0};
    if (!(set & (set - 1))) return e->in[__builtin_ctz(set)];
    const bool matrix = rows && columns;
    if (matrix) append(e, &order, &e->out, rows);
    for (uint32_t i = 0; i < e->operands; i++)
        if (set >> i & 1) append(e, &order, &e->in[i], matrix ? open & ~columns : open);
    if (matrix) append(e, &order, &e->in[0], columns);
    return order;
}

static dart_shape shape_of(const dart_einsum *e, const dart_labels *labels)
{
    dart_shape shape = {.rank = labels->rank};
    for (uint32_t i = 0; i < labels->rank; i++) shape.dim[i] = e->dim[labels->at[i]];
    return shape;
}

/* The contract with each group in the place of its operands. */
static void merged(const dart_einsum *e, uint32_t groups, const uint32_t *mask, dart_einsum *out)
{
    *out = *e;
    out->operands = 1 + groups;
    for (uint32_t g = 0; g < groups; g++) out->in[1 + g] = group_order(e, mask[g]);
}

static dart_status price(const dart_einsum *e, uint32_t groups, const uint32_t *mask,
    const dart_cost *cost, dart_path_tree *tree, double *out)
{
    dart_einsum m;
    merged(e, groups, mask, &m);
    DART_TRY(dart_path_search(&m, cost, NULL, NULL, tree));
    *out = tree->cost[(1u << m.operands) - 1];
    return DART_OK;
}

static dart_status choose(const dart_einsum *e, const dart_cost *cost, dart_merge_how how,
    dart_path_tree *tree, dart_merge *out)
{
    const uint32_t full = (1u << e->operands) - 1, fixed = full & ~1u;
    double best = INFINITY, seconds;
    switch (e->operands == 2 ? DART_MERGE_ALL : how) {
    case DART_MERGE_NONE:
        for (uint32_t i = 1; i < e->operands; i++) out->mask[out->groups++] = 1u << i;
        return price(e, out->groups, out->mask, cost, tree, &out->seconds);
    case DART_MERGE_ALL:
        out->mask[out->groups++] = fixed;
        return price(e, 1, out->mask, cost, tree, &out->seconds);
    case DART_MERGE_HALVES:
        out->groups = 2;
        for (uint32_t k = 2; k < e->operands; k++) {
            uint32_t mask[2] = {((1u << k) - 1) & ~1u, full & ~((1u << k) - 1)};
            DART_TRY(price(e, 2, mask, cost, tree, &seconds));
            if (seconds >= best) continue;
            out->seconds = best = seconds;
            memcpy(out->mask, mask, sizeof mask);
        }
        return DART_OK;
    default:
        DART_TRY(dart_path_search(e, cost, without_first, NULL, tree));
        for (uint32_t set = full; set & (set - 1);) {
            uint32_t half = tree->split[set];
            out->mask[out->groups++] = half & 1 ? set ^ half : half;
            set = half & 1 ? half : set ^ half;
        }
        return price(e, out->groups, out->mask, cost, tree, &out->seconds);
    }
}

dart_status dart_contract_merge(const dart_graph *graph, dart_node contract, const dart_cost *cost,
    dart_merge_how how, dart_merge *out)
{
    dart_einsum e, m;
    *out = (dart_merge){0};
    DART_TRY(dart_einsum_read(graph, contract, &e));
    if (e.operands < 2) return dart_fail(DART_FAILED, "merging a contract of one operand");
    dart_path_tree *tree = dart_calloc(1, sizeof *tree);
    if (!tree) return DART_MEMORY;
    dart_status status = choose(&e, cost, how, tree, out);
    free(tree);
    if (status != DART_OK) return status;
    merged(&e, out->groups, out->mask, &m);
    dart_einsum_write(&m, out->text);
    for (uint32_t g = 0; g < out->groups; g++) {
        dart_einsum make = {.out = m.in[1 + g]};
        for (uint32_t i = 1; i < e.operands; i++)
            if (out->mask[g] >> i & 1) make.in[make.operands++] = e.in[i];
        dart_einsum_write(&make, out->make[g]);
        out->shape[g] = shape_of(&e, &m.in[1 + g]);
        out->words += dart_shape_words(&out->shape[g]);
    }
    return DART_OK;
}
