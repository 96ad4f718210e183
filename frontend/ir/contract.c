/* Contraction paths: einsum text to labels, dynamic programming over subsets of operands, device
 * prices. */
#include "planner.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int letter_index(char c)
{
    if (c >= 'a' && c <= 'z') return c - 'a';
    if (c >= 'A' && c <= 'Z') return 26 + c - 'A';
    return -1;
}

dart_status dart_einsum_read(const dart_graph *graph, dart_node contract, dart_einsum *out)
{
    const dart_node_info *info = dart_node_get(graph, contract);
    int number[DART_MAX_LABELS];
    memset(number, -1, sizeof number);
    memset(out, 0, sizeof *out);
    if (info->inputs > DART_MAX_OPERANDS)
        return dart_fail(DART_INPUT, "contract \"%s\" has %u operands; at most %d are supported",
            info->text, info->inputs, DART_MAX_OPERANDS);
    uint32_t operand = 0;
    bool result = false;
    for (const char *c = info->text; *c; c++) {
        if (*c == ' ') continue;
        if (*c == ',') {
            operand++;
            continue;
        }
        if (*c == '-' && c[1] == '>') {
            result = true;
            c++;
            continue;
        }
        int letter = letter_index(*c);
        dart_labels *labels = result ? &out->out : &out->in[operand];
        const dart_shape *shape =
            result
                ? &info->shape
                : (operand < info->inputs ? &dart_node_get(graph, info->in[operand])->shape : NULL);
        if (letter < 0 || !shape || labels->rank >= shape->rank)
            return dart_fail(DART_INPUT,
                "contract \"%s\": '%c' does not fit the operands; one letter an axis, operands "
                "separated by commas",
                info->text, *c);
        if (number[letter] < 0) {
            number[letter] = (int)out->labels;
            out->dim[out->labels++] = shape->dim[labels->rank];
        }
        uint8_t label = (uint8_t)number[letter];
        if (out->dim[label] != shape->dim[labels->rank])
            return dart_fail(DART_INPUT,
                "contract \"%s\": '%c' is %u in one operand and %u in another", info->text, *c,
                out->dim[label], shape->dim[labels->rank]);
        for (uint32_t i = 0; i < labels->rank; i++)
            if (labels->at[i] == label)
                return dart_fail(
                    DART_INPUT, "contract \"%s\": '%c' occurs twice in one tensor", info->text, *c);
        labels->at[labels->rank++] = label;
    }
    out->operands = info->inputs;
    for (uint32_t i = 0; i < info->inputs; i++)
        if (out->in[i].rank != dart_node_get(graph, info->in[i])->shape.rank)
            return dart_fail(DART_INPUT, "contract \"%s\": operand %u has %u axes", info->text, i,
                dart_node_get(graph, info->in[i])->shape.rank);
    return DART_OK;
}

static char *write_labels(char *to, const dart_labels *labels)
{
    for (uint32_t i = 0; i < labels->rank; i++)
        *to++ = (char)(labels->at[i] < 26 ? 'a' + labels->at[i] : 'A' + labels->at[i] - 26);
    return to;
}

void dart_einsum_write(const dart_einsum *einsum, char *text)
{
    for (uint32_t i = 0; i < einsum->operands; i++) {
        if (i) *text++ = ',';
        text = write_labels(text, &einsum->in[i]);
    }
    *text++ = '-';
    *text++ = '>';
    *write_labels(text, &einsum->out) = 0;
}

uint64_t dart_labels_mask(const dart_labels *labels)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < labels->rank; i++) mask |= 1ull << labels->at[i];
    return mask;
}

double dart_mask_words(const dart_einsum *einsum, uint64_t mask)
{
    double words = 1;
    for (; mask; mask &= mask - 1) words *= einsum->dim[__builtin_ctzll(mask)];
    return words;
}

/* Stretches of neighbouring labels that are all inside or all outside `group`. */
static uint32_t stretches(const dart_labels *labels, uint64_t group)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < labels->rank; i++) {
        bool in = group >> labels->at[i] & 1;
        if (i == 0 || in != (group >> labels->at[i - 1] & 1)) count++;
    }
    return count;
}

/* Seconds of one pairwise product: arithmetic, traffic, launches with the permutes that its fixed
 * tensors (operands of the contract, its result) will most likely need. */
static double pair_cost(const dart_einsum *einsum, const dart_cost *cost, uint64_t a, uint64_t b,
    uint64_t open, const dart_labels *fixed_a, const dart_labels *fixed_b,
    const dart_labels *fixed_c)
{
    double words_a = dart_mask_words(einsum, a), words_b = dart_mask_words(einsum, b);
    double words_c = dart_mask_words(einsum, open);
    double bytes = 4 * (words_a + words_b + words_c), launches = 1;
    uint64_t batch = a & b & open, inner = a & b & ~open;
    /* (batch, free, summed) stretches; one more is a loop that a batch level can carry */
    if (fixed_a && stretches(fixed_a, inner) > 3) launches++, bytes += 8 * words_a;
    if (fixed_b && stretches(fixed_b, inner) > 3) launches++, bytes += 8 * words_b;
    if (fixed_c && stretches(fixed_c, a & ~b & open) > (batch ? 4u : 3u))
        launches++, bytes += 8 * words_c;
    return 2 * dart_mask_words(einsum, a | b) * cost->flop + bytes * cost->byte +
           launches * cost->launch;
}

dart_status dart_path_search(const dart_einsum *einsum, const dart_cost *cost,
    bool (*exists)(void *user, uint32_t subset), void *user, dart_path_tree *tree)
{
    const uint32_t n = einsum->operands, full = (1u << n) - 1;
    uint64_t in[DART_MAX_OPERANDS], out = dart_labels_mask(&einsum->out);
    for (uint32_t i = 0; i < n; i++) in[i] = dart_labels_mask(&einsum->in[i]);

    for (uint32_t set = 1; set <= full; set++) {
        uint64_t inside = 0, outside = out;
        for (uint32_t i = 0; i < n; i++) *(set >> i & 1 ? &inside : &outside) |= in[i];
        tree->open[set] = inside & outside;
        tree->split[set] = 0;
        tree->cost[set] = INFINITY;
        if ((set & (set - 1)) == 0) {
            tree->cost[set] = 0;
            continue;
        }
        if (exists && exists(user, set)) {
            tree->cost[set] = 0;
            continue;
        }
        if (__builtin_popcountll(tree->open[set]) > DART_MAX_RANK ||
            dart_mask_words(einsum, tree->open[set]) > (double)(1u << 31))
            continue;
        const uint32_t low = set & -set, rest = set ^ low;
        /* every way to split: `low` stays in the first half so that each is seen once */
        for (uint32_t part = (rest - 1) & rest;; part = (part - 1) & rest) {
            const uint32_t one = part | low, two = set ^ one;
            if (tree->cost[one] + tree->cost[two] < tree->cost[set]) {
                const dart_labels *fixed_a =
                    one & (one - 1) ? NULL : &einsum->in[__builtin_ctz(one)];
                const dart_labels *fixed_b =
                    two & (two - 1) ? NULL : &einsum->in[__builtin_ctz(two)];
                double total =
                    tree->cost[one] + tree->cost[two] +
                    pair_cost(einsum, cost, tree->open[one], tree->open[two], tree->open[set],
                        fixed_a, fixed_b, set == full ? &einsum->out : NULL);
                if (total < tree->cost[set]) {
                    tree->cost[set] = total;
                    tree->split[set] = (uint16_t)one;
                }
            }
            if (part == 0) break;
        }
    }
    if (!isfinite(tree->cost[full]))
        return dart_fail(DART_INPUT,
            "a contraction of %u operands has no order whose intermediates stay within %d axes and "
            "2^31 words; "
            "use fewer modes",
            n, DART_MAX_RANK);
    return DART_OK;
}

typedef struct path_text {
    const dart_graph *graph;
    const dart_node_info *info;
    const dart_path_tree *tree;
    dart_path *out;
    size_t used;
} path_text;

static void text_add(path_text *text, const char *what)
{
    size_t length = strlen(what), room = sizeof text->out->text - 1 - text->used;
    if (length > room) length = room;
    memcpy(text->out->text + text->used, what, length);
    text->used += length;
}

static bool single(uint32_t set)
{
    return (set & (set - 1)) == 0;
}

static void text_subset(path_text *text, uint32_t set)
{
    if (single(set)) {
        dart_node node = text->info->in[__builtin_ctz(set)];
        const dart_node_info *operand = dart_node_get(text->graph, node);
        char name[16];
        snprintf(name, sizeof name, "%%%u", node);
        text_add(text, operand->op == DART_OP_leaf ? operand->text : name);
        return;
    }
    uint32_t half[2] = {text->tree->split[set], set ^ text->tree->split[set]};
    for (int i = 0; i < 2; i++) {
        /* a left half that is a plain chain a*b*c needs no brackets */
        bool bare = single(half[i]) || (i == 0 && single(half[i] ^ text->tree->split[half[i]]));
        if (i) text_add(text, "*");
        if (!bare) text_add(text, "(");
        text_subset(text, half[i]);
        if (!bare) text_add(text, ")");
    }
}

static void path_figures(
    const dart_einsum *einsum, const dart_path_tree *tree, uint32_t set, bool root, dart_path *out)
{
    if (single(set)) return;
    uint32_t one = tree->split[set], two = set ^ one;
    path_figures(einsum, tree, one, false, out);
    path_figures(einsum, tree, two, false, out);
    out->steps++;
    out->flops += 2 * dart_mask_words(einsum, tree->open[one] | tree->open[two]);
    uint64_t words = (uint64_t)dart_mask_words(einsum, tree->open[set]);
    if (!root && words > out->peak_words) out->peak_words = words;
}

dart_status dart_contract_path(
    const dart_graph *graph, dart_node contract, const dart_cost *cost, dart_path *out)
{
    dart_status status = DART_OK;
    dart_einsum einsum;
    memset(out, 0, sizeof *out);
    if (dart_node_get(graph, contract)->op != DART_OP_contract)
        return dart_fail(DART_INPUT, "node %%%u is no contract, so it has no path", contract);
    DART_TRY(dart_einsum_read(graph, contract, &einsum));
    dart_path_tree *tree = dart_calloc(1, sizeof *tree);
    if (!tree) return DART_MEMORY;
    DART_GOTO(dart_path_search(&einsum, cost, NULL, NULL, tree));
    path_text text = {graph, dart_node_get(graph, contract), tree, out, 0};
    uint32_t full = (1u << einsum.operands) - 1;
    text_subset(&text, full);
    path_figures(&einsum, tree, full, true, out);
    out->seconds = tree->cost[full];
done:
    free(tree);
    return status;
}

/* Sustained rates of ordinary devices of each kind, not peaks: only ratios matter for the choice of
 * a path. */
dart_cost dart_cost_for(const dart_caps *caps)
{
    bool interface = strncmp(caps->api, "Vulkan", 6) == 0 || strncmp(caps->api, "OpenCL", 6) == 0;
    dart_cost cost = {1 / 5e12, 1 / 2e11, 5e-6, 0, UINT64_MAX};
    if (!interface && (caps->on_cpu || caps->word == 8))
        cost = (dart_cost){1 / 1e11, 1 / 1e10, 2e-6, 0, UINT64_MAX}; /* the cpu backend */
    else if (caps->on_cpu)
        cost = (dart_cost){1 / 1.5e10, 1 / 5e9, 2e-5, UINT32_MAX, UINT64_MAX}; /* lavapipe, PoCL */
    if (caps->slow_shared) cost.tiled_keys = UINT32_MAX; /* tiles lie in shared memory */
    if (caps->max_binding && caps->word) cost.binding = caps->max_binding / caps->word;
    return cost;
}
