/* Contracts to pairwise contracts: axes of length 1 and lonely labels go first, then the cheapest
 * path; what an earlier contract already made is found by a canonical key and costs nothing. */
#include "pass.h"
#include <math.h>
#include <string.h>

typedef struct made {
    dart_node node;
    dart_labels order;
} made;

typedef struct contraction {
    dart_pass *pass;
    dart_einsum e;
    dart_node in[DART_MAX_OPERANDS];
    uint8_t sorted[DART_MAX_OPERANDS]; /* operands by node */
} contraction;

static dart_shape shape_of(const dart_einsum *e, const dart_labels *labels)
{
    dart_shape shape = {.rank = labels->rank};
    for (uint32_t i = 0; i < labels->rank; i++) shape.dim[i] = e->dim[labels->at[i]];
    return shape;
}

static dart_node reshape(dart_pass *pass, dart_node x, const dart_shape *shape)
{
    const dart_node_info *info = dart_node_get(pass->graph, x);
    if (!info) return 0; /* after a builder's failure */
    if (dart_shape_equal(&info->shape, shape)) return x;
    return dart_pass_add(
        pass, &(dart_node_info){.op = DART_OP_reshape, .inputs = 1, .in = {x}, .shape = *shape});
}

static void drop_units(const dart_einsum *e, dart_labels *labels)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < labels->rank; i++)
        if (e->dim[labels->at[i]] != 1) labels->at[kept++] = labels->at[i];
    labels->rank = (uint8_t)kept;
}

/* Sums operand i over labels that no other tensor has. */
static void drop_lonely(contraction *c, uint32_t i)
{
    uint64_t others = dart_labels_mask(&c->e.out);
    for (uint32_t k = 0; k < c->e.operands; k++)
        if (k != i) others |= dart_labels_mask(&c->e.in[k]);
    dart_labels *labels = &c->e.in[i];
    for (uint32_t axis = 0; axis < labels->rank; axis++) {
        uint32_t count = 0;
        while (axis + count < labels->rank && !(others >> labels->at[axis + count] & 1)) count++;
        if (!count) continue;
        c->in[i] = dart_pass_add(c->pass, &(dart_node_info){.op = DART_OP_reduce,
                                              .inputs = 1,
                                              .in = {c->in[i]},
                                              .ints = 3,
                                              .i = {0, axis, count}});
        memmove(labels->at + axis, labels->at + axis + count, labels->rank - axis - count);
        labels->rank = (uint8_t)(labels->rank - count);
    }
}

/* Constants among the operands become a factor where the others have all labels of the result; of
 * constants alone *all is set, and the result has this value everywhere. */
static double drop_constants(contraction *c, bool *all)
{
    dart_einsum *e = &c->e;
    const uint64_t result = dart_labels_mask(&e->out);
    double factor = 1;
    *all = true;
    for (uint32_t i = 0; i < e->operands; i++)
        *all &= dart_pass_constant(c->pass, c->in[i]) != NULL;
    for (uint32_t i = e->operands; i-- > 0;) {
        const dart_node_info *constant = dart_pass_constant(c->pass, c->in[i]);
        uint64_t others = 0;
        for (uint32_t k = 0; k < e->operands; k++)
            if (k != i) others |= dart_labels_mask(&e->in[k]);
        if (!constant || (!*all && (result & ~others || e->operands == 1))) continue;
        others |= result;
        factor *= constant->f[0];
        for (uint32_t a = 0; a < e->in[i].rank; a++)
            if (!(others >> e->in[i].at[a] & 1)) factor *= e->dim[e->in[i].at[a]];
        memmove(&e->in[i], &e->in[i + 1], (e->operands - i - 1) * sizeof *e->in);
        memmove(&c->in[i], &c->in[i + 1], (e->operands - i - 1) * sizeof *c->in);
        e->operands--;
    }
    return factor;
}

/* Whether the last two labels of a symmetric operand go the other way in a key: what has a number
 * already comes first, of two the smaller; else what stays open. */
static bool exchanged(
    const contraction *c, uint32_t operand, uint64_t open, const uint8_t number[DART_MAX_LABELS])
{
    const dart_labels *l = &c->e.in[operand];
    if (!c->pass->symmetric[c->in[operand]] || l->rank < 2) return false;
    const uint8_t x = l->at[l->rank - 2], y = l->at[l->rank - 1];
    if (number[x] == 0xff && number[y] == 0xff) return !(open >> x & 1) && open >> y & 1;
    return number[y] < number[x]; /* 0xff: none yet */
}

/* Key of a subset (made for every subset of every contract, so by hand): its nodes in order, with
 * labels renamed by first appearance, and the open labels. number[l]: new name of label l, name[n]:
 * label of new name n. */
static void subset_key(const contraction *c, uint32_t set, uint64_t open, char key[512],
    uint8_t number[DART_MAX_LABELS], uint8_t name[DART_MAX_LABELS])
{
    uint32_t names = 0;
    size_t at = 0;
    memset(number, 0xff, DART_MAX_LABELS);
    for (uint32_t k = 0; k < c->e.operands; k++) {
        uint32_t i = c->sorted[k];
        if (!(set >> i & 1)) continue;
        dart_labels labels = c->e.in[i];
        if (exchanged(c, i, open, number)) {
            labels.at[labels.rank - 2] = c->e.in[i].at[labels.rank - 1];
            labels.at[labels.rank - 1] = c->e.in[i].at[labels.rank - 2];
        }
        for (dart_node n = c->in[i]; n; n >>= 4) key[at++] = (char)('a' + (n & 15));
        key[at++] = ':';
        for (uint32_t a = 0; a < labels.rank; a++) {
            uint8_t label = labels.at[a];
            if (number[label] == 0xff) {
                number[label] = (uint8_t)names;
                name[names++] = label;
            }
            key[at++] = (char)('A' + number[label]);
        }
        key[at++] = ' ';
    }
    key[at++] = '>';
    for (uint32_t n = 0; n < names; n++)
        if (open >> name[n] & 1) key[at++] = (char)('A' + n);
    key[at] = 0;
}

static uint64_t open_labels(const contraction *c, uint32_t set)
{
    uint64_t inside = 0, outside = dart_labels_mask(&c->e.out);
    for (uint32_t i = 0; i < c->e.operands; i++)
        *(set >> i & 1 ? &inside : &outside) |= dart_labels_mask(&c->e.in[i]);
    return inside & outside;
}

static bool find(const contraction *c, uint32_t set, made *out)
{
    char key[512];
    uint8_t number[DART_MAX_LABELS], name[DART_MAX_LABELS];
    subset_key(c, set, open_labels(c, set), key, number, name);
    const dart_shared *entry = c->pass->shared[dart_text_hash(key) % DART_BUCKETS];
    for (; entry; entry = entry->next)
        if (strcmp(entry->key, key) == 0 && dart_pass_fresh(c->pass, entry->node)) {
            if (out) {
                out->node = entry->node;
                out->order.rank = entry->order.rank;
                for (uint32_t i = 0; i < entry->order.rank; i++)
                    out->order.at[i] = name[entry->order.at[i]];
            }
            return true;
        }
    return false;
}

static bool exists(void *user, uint32_t set)
{
    return find(user, set, NULL);
}

static dart_status remember(contraction *c, uint32_t set, const made *what)
{
    char key[512];
    uint8_t number[DART_MAX_LABELS], name[DART_MAX_LABELS];
    subset_key(c, set, open_labels(c, set), key, number, name);
    dart_shared *entry = DART_NEW(&c->pass->arena, dart_shared, 1);
    if (!entry || !(entry->key = dart_arena_strdup(&c->pass->arena, key))) return DART_MEMORY;
    entry->node = what->node;
    entry->order.rank = what->order.rank;
    for (uint32_t i = 0; i < what->order.rank; i++) entry->order.at[i] = number[what->order.at[i]];
    dart_shared **bucket = &c->pass->shared[dart_text_hash(key) % DART_BUCKETS];
    entry->next = *bucket;
    *bucket = entry;
    return DART_OK;
}

static void append(dart_labels *to, const dart_labels *from, uint64_t mask)
{
    for (uint32_t i = 0; i < from->rank; i++)
        if (mask >> from->at[i] & 1) to->at[to->rank++] = from->at[i];
}

static bool same_labels(const dart_labels *a, const dart_labels *b)
{
    return a->rank == b->rank && memcmp(a->at, b->at, a->rank) == 0;
}

static double price(
    const contraction *c, const dart_labels *a, const dart_labels *b, const dart_labels *y)
{
    dart_labels t[3] = {*a, *b, *y};
    dart_gemm_plan plan;
    if (!a->rank || !b->rank) return 0;
    return dart_gemm_choose(c->e.dim, t, false, c->pass->cost, &plan) ? plan.cost : INFINITY;
}

/* The label order in which to make a*b, given that it is then multiplied by `other` (a subset) into
 * `parent`. */
static dart_labels choose_order(const contraction *c, const made *a, const made *b, uint64_t open,
    uint32_t other, uint32_t parent)
{
    const uint32_t full = (1u << c->e.operands) - 1;
    uint64_t of_a = dart_labels_mask(&a->order), of_b = dart_labels_mask(&b->order);
    uint64_t partner_open = open_labels(c, other), result_open = open_labels(c, parent);
    uint64_t batch = of_a & of_b & open, rows = of_a & ~of_b & open, cols = of_b & ~of_a & open;
    dart_labels candidate[4];
    memset(candidate, 0, sizeof candidate);
    for (int i = 0; i < 2; i++) {
        append(&candidate[i], &a->order, batch);
        append(&candidate[i], i ? &b->order : &a->order, i ? cols : rows);
        append(&candidate[i], i ? &a->order : &b->order, i ? rows : cols);
    }
    made partner = {0};
    bool known = (other & (other - 1)) == 0;
    if (known)
        partner.order = c->e.in[__builtin_ctz(other)];
    else
        known = find(c, other, &partner);
    uint64_t sums = open & partner_open & ~result_open, both = open & partner_open & result_open;
    for (int i = 2; i < 4; i++) { /* as the next product would like it best */
        const dart_labels *lead = parent == full ? &c->e.out : &candidate[0];
        append(&candidate[i], lead, both);
        if (i == 3) append(&candidate[i], known ? &partner.order : &candidate[0], sums);
        append(&candidate[i], lead, open & ~partner_open);
        if (i == 2) append(&candidate[i], known ? &partner.order : &candidate[0], sums);
    }
    double least = INFINITY;
    int best = 0;
    for (int i = 0; i < 4; i++) {
        dart_labels next = partner.order, result = c->e.out;
        if (!known) {
            next.rank = 0;
            append(&next, &candidate[i], both);
            append(&next, &candidate[i], sums);
            for (uint32_t l = 0; l < c->e.labels; l++)
                if (partner_open & ~open & 1ull << l) next.at[next.rank++] = (uint8_t)l;
        }
        if (parent != full) {
            result.rank = 0;
            append(&result, &candidate[i], result_open);
            append(&result, &next, result_open & ~open);
        }
        /* twice: the backward pass uses it again in the same way */
        double total = price(c, &a->order, &b->order, &candidate[i]) +
                       2 * price(c, &candidate[i], &next, &result);
        if (total < least * (1 - 1e-9)) least = total, best = i;
    }
    return candidate[best];
}

static dart_node multiply(contraction *c, const made *a, const made *b, const dart_labels *order)
{
    bool alike = same_labels(&a->order, order) && same_labels(&b->order, order);
    if (alike || !a->order.rank || !b->order.rank) {
        const made *whole = a->order.rank ? a : b, *other = a->order.rank ? b : a;
        return dart_pass_add(c->pass,
            &(dart_node_info){
                .op = DART_OP_mul, .inputs = 2, .in = {whole->node, other->node}, .floats = 2});
    }
    dart_einsum two = {.operands = 2, .in = {a->order, b->order}, .out = *order};
    uint8_t number[DART_MAX_LABELS];
    memset(number, 0xff, sizeof number);
    for (int t = 0; t < 3; t++) {
        dart_labels *labels = t < 2 ? &two.in[t] : &two.out;
        for (uint32_t i = 0; i < labels->rank; i++) {
            uint8_t *to = &number[labels->at[i]];
            if (*to == 0xff) *to = (uint8_t)two.labels++;
            labels->at[i] = *to;
        }
    }
    char text[200];
    dart_einsum_write(&two, text);
    return dart_pass_add(
        c->pass, &(dart_node_info){
                     .op = DART_OP_contract, .inputs = 2, .in = {a->node, b->node}, .text = text});
}

static dart_node permute(dart_pass *pass, const made *x, const dart_labels *order)
{
    if (same_labels(&x->order, order)) return x->node;
    dart_node_info info = {
        .op = DART_OP_permute, .inputs = 1, .in = {x->node}, .ints = order->rank};
    for (uint32_t i = 0; i < order->rank; i++)
        for (uint32_t k = 0; k < order->rank; k++)
            if (x->order.at[k] == order->at[i]) info.i[i] = k;
    return dart_pass_add(pass, &info);
}

static dart_status make(contraction *c, uint32_t set, uint32_t parent, made *out)
{
    if ((set & (set - 1)) == 0) {
        uint32_t i = (uint32_t)__builtin_ctz(set);
        *out = (made){c->in[i], c->e.in[i]};
        return DART_OK;
    }
    if (find(c, set, out)) return DART_OK;
    const uint32_t one = c->pass->tree->split[set], two = set ^ one;
    made a, b;
    DART_TRY(make(c, one, set, &a));
    DART_TRY(make(c, two, set, &b));
    uint64_t open = open_labels(c, set);
    if (parent) {
        out->order = choose_order(c, &a, &b, open, parent ^ set, parent);
    } else {
        out->order = c->e.out;
    }
    /* a product with a scalar keeps the other's layout */
    if (!a.order.rank || !b.order.rank) out->order = a.order.rank ? a.order : b.order;
    out->node = multiply(c, &a, &b, &out->order);
    return remember(c, set, out);
}

/* The whole contract as a text, its result's labels in their order, or the last two exchanged. */
static void whole_key(const contraction *c, bool exchange, char key[600])
{
    uint8_t number[DART_MAX_LABELS], name[DART_MAX_LABELS];
    subset_key(c, (1u << c->e.operands) - 1, dart_labels_mask(&c->e.out), key, number, name);
    const dart_labels *out = &c->e.out;
    size_t at = strlen(key);
    for (uint32_t i = 0; i < out->rank; i++) {
        const uint32_t last = out->rank - 1, of = exchange && i + 2 > last ? 2 * last - 1 - i : i;
        key[at++] = (char)('A' + number[out->at[of]]);
    }
    key[at] = 0;
}

/* The result is the same with its last two axes exchanged, as that is the same contract, perhaps
 * with two equal operands in the place of each other. */
static bool is_symmetric(const contraction *c, const dart_shape *shape)
{
    contraction other = *c;
    char key[600], exchanged_key[600];
    const uint32_t last = c->e.out.rank;
    if (last < 2 || shape->rank < 2 || shape->dim[shape->rank - 1] == 1 ||
        c->e.dim[c->e.out.at[last - 1]] != c->e.dim[c->e.out.at[last - 2]] ||
        shape->dim[shape->rank - 1] != c->e.dim[c->e.out.at[last - 1]] ||
        shape->dim[shape->rank - 2] != shape->dim[shape->rank - 1])
        return false;
    whole_key(c, false, key);
    whole_key(c, true, exchanged_key);
    if (!strcmp(key, exchanged_key)) return true;
    for (uint32_t k = 0; k + 1 < c->e.operands; k++) {
        if (c->in[c->sorted[k]] != c->in[c->sorted[k + 1]]) continue;
        memcpy(other.sorted, c->sorted, sizeof other.sorted);
        other.sorted[k] = c->sorted[k + 1];
        other.sorted[k + 1] = c->sorted[k];
        whole_key(&other, true, exchanged_key);
        if (!strcmp(key, exchanged_key)) return true;
    }
    return false;
}

dart_status dart_pass_contract(dart_pass *pass, dart_node contract, dart_node *out)
{
    const dart_node_info *info = dart_node_get(pass->old, contract);
    contraction c = {.pass = pass};
    DART_TRY(dart_einsum_read(pass->old, contract, &c.e));
    drop_units(&c.e, &c.e.out);
    for (uint32_t i = 0; i < c.e.operands; i++) {
        c.in[i] = pass->map[info->in[i]];
        drop_units(&c.e, &c.e.in[i]);
        dart_shape shape = shape_of(&c.e, &c.e.in[i]);
        c.in[i] = reshape(pass, c.in[i], &shape);
    }
    bool constant;
    const double factor = drop_constants(&c, &constant);
    if (constant) {
        *out = dart_pass_add(
            pass, &(dart_node_info){
                      .op = DART_OP_fill, .shape = info->shape, .floats = 2, .f = {factor}});
        return dart_graph_check(pass->graph);
    }
    for (uint32_t i = 0; i < c.e.operands; i++) {
        drop_lonely(&c, i);
        uint32_t at = i; /* insertion sort by node */
        for (; at > 0 && c.in[c.sorted[at - 1]] > c.in[i]; at--) c.sorted[at] = c.sorted[at - 1];
        c.sorted[at] = (uint8_t)i;
    }
    DART_TRY(dart_graph_check(pass->graph));
    const uint32_t full = (1u << c.e.operands) - 1;
    made result;
    if (c.e.operands > 1) DART_TRY(dart_path_search(&c.e, pass->cost, exists, &c, pass->tree));
    DART_TRY(make(&c, full, 0, &result));
    dart_node node = dart_pass_affine(pass, permute(pass, &result, &c.e.out), factor, 0);
    *out = reshape(pass, node, &info->shape);
    if (*out) pass->symmetric[*out] |= is_symmetric(&c, &info->shape);
    return dart_graph_check(pass->graph);
}
