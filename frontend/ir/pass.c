/* The new graph of the optimizing pass: nodes are added once. */
#include "pass.h"
#include "graph_impl.h"
#include <string.h>

uint32_t dart_text_hash(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

static uint32_t hash_info(const dart_node_info *info)
{
    uint32_t hash = (uint32_t)info->op * 2654435761u;
#define MIX(value) hash = (hash ^ (uint32_t)(value)) * 16777619u
    for (uint32_t i = 0; i < info->inputs; i++) MIX(info->in[i]);
    for (uint32_t i = 0; i < info->ints; i++) MIX(info->i[i]);
    if (info->text) MIX(dart_text_hash(info->text));
    if (!info->inputs || info->op == DART_OP_reshape)
        for (uint32_t i = 0; i < info->shape.rank; i++) MIX(info->shape.dim[i]);
#undef MIX
    return (hash ^ hash >> 15) % DART_BUCKETS;
}

static bool same_info(const dart_node_info *a, const dart_node_info *b)
{
    if (a->op != b->op || a->inputs != b->inputs || a->ints != b->ints || a->floats != b->floats)
        return false;
    if (memcmp(a->in, b->in, a->inputs * sizeof a->in[0]) ||
        memcmp(a->i, b->i, a->ints * sizeof a->i[0]) ||
        memcmp(a->f, b->f, a->floats * sizeof a->f[0]))
        return false;
    if ((a->text || b->text) && (!a->text || !b->text || strcmp(a->text, b->text))) return false;
    bool shaped = !a->inputs || a->op == DART_OP_reshape; /* the shape is not implied */
    return !shaped || (a->dtype == b->dtype && dart_shape_equal(&a->shape, &b->shape));
}

bool dart_pass_fresh(const dart_pass *pass, dart_node node)
{
    for (uint32_t left = pass->regions[node]; left; left &= left - 1)
        if (pass->written[__builtin_ctz(left)] > node) return false;
    return true;
}

static const dart_shape *shape_of(const dart_pass *pass, dart_node node)
{
    return &dart_node_get(pass->graph, node)->shape;
}

static bool is_square(const dart_shape *s)
{
    return s->rank >= 2 && s->dim[s->rank - 1] == s->dim[s->rank - 2];
}

/* Of any op but contract (paths.c), by what is known of its inputs. */
static bool stays_symmetric(const dart_pass *pass, dart_node node)
{
    const dart_node_info *info = dart_node_get(pass->graph, node);
    const dart_shape *s = &info->shape;
    if (!is_square(s)) return false;
    switch (info->op) {
    case DART_OP_spd_fn:
        return info->i[0] < 2;
    case DART_OP_reshape:
        return pass->symmetric[info->in[0]] &&
               shape_of(pass, info->in[0])->dim[shape_of(pass, info->in[0])->rank - 1] ==
                   s->dim[s->rank - 1];
    case DART_OP_slice:
        return s->rank > 2 && pass->symmetric[info->in[0]];
    case DART_OP_affine:
    case DART_OP_add:
    case DART_OP_join: {
        bool all = info->op != DART_OP_join || s->rank > 2;
        for (uint32_t i = 0; i < info->inputs; i++)
            all &= pass->symmetric[info->in[i]] && shape_of(pass, info->in[i])->rank == s->rank;
        return all;
    }
    default:
        return false;
    }
}

dart_node dart_pass_add(dart_pass *pass, const dart_node_info *info)
{
    const uint32_t writes = dart_op_info_of(info->op)->writes;
    uint32_t slot = hash_info(info);
    if (!writes)
        for (dart_node n = pass->bucket[slot]; n; n = pass->chain[n])
            if (same_info(dart_node_get(pass->graph, n), info) &&
                (info->op == DART_OP_leaf || dart_pass_fresh(pass, n)))
                return n;
    dart_node node = dart_graph_add(pass->graph, info);
    if (!node) return 0;
    if (dart_grow((void **)&pass->regions, &pass->region_capacity, (size_t)node + 1,
            sizeof *pass->regions) != DART_OK ||
        dart_grow((void **)&pass->chain, &pass->chain_capacity, (size_t)node + 1,
            sizeof *pass->chain) != DART_OK)
        return dart_graph_fail(pass->graph, DART_MEMORY);
    if (dart_grow((void **)&pass->symmetric, &pass->symmetric_capacity, (size_t)node + 1,
            sizeof *pass->symmetric) != DART_OK)
        return dart_graph_fail(pass->graph, DART_MEMORY);
    pass->symmetric[node] = stays_symmetric(pass, node);
    pass->regions[node] = info->op == DART_OP_leaf ? 1u << info->i[0] : 0;
    for (uint32_t i = 0; i < info->inputs; i++) pass->regions[node] |= pass->regions[info->in[i]];
    if (writes) {
        for (uint32_t i = 0; i < info->inputs; i++) {
            const dart_node_info *leaf = dart_node_get(pass->graph, info->in[i]);
            if (writes >> i & 1 && leaf->op == DART_OP_leaf) pass->written[leaf->i[0]] = node;
        }
    } else {
        pass->chain[node] = pass->bucket[slot];
        pass->bucket[slot] = node;
    }
    return node;
}

static dart_node fill(dart_pass *pass, const dart_shape *shape, double value)
{
    return dart_pass_add(
        pass, &(dart_node_info){.op = DART_OP_fill, .shape = *shape, .floats = 2, .f = {value}});
}

dart_node dart_pass_affine(dart_pass *pass, dart_node x, double scale, double shift)
{
    const dart_node_info *info = dart_node_get(pass->graph, x);
    if (!info || (scale == 1 && shift == 0)) return x;
    if (info->op == DART_OP_fill) return fill(pass, &info->shape, info->f[0] * scale + shift);
    if (info->op == DART_OP_affine)
        return dart_pass_affine(pass, info->in[0], info->f[0] * scale, info->f[1] * scale + shift);
    return dart_pass_add(
        pass, &(dart_node_info){
                  .op = DART_OP_affine, .inputs = 1, .in = {x}, .floats = 2, .f = {scale, shift}});
}

const dart_node_info *dart_pass_constant(const dart_pass *pass, dart_node node)
{
    const dart_node_info *info = dart_node_get(pass->graph, node);
    while (info && info->op == DART_OP_reshape) info = dart_node_get(pass->graph, info->in[0]);
    return info && info->op == DART_OP_fill ? info : NULL;
}
