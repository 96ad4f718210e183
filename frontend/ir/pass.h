/* The optimizing pass's state, shared by pass.c (adding nodes once), optimize.c (one node at a
 * time) and paths.c (contracts).
 */
#ifndef DART_PASS_H
#define DART_PASS_H

#include "planner.h"

typedef struct dart_shared { /* an intermediate that exists already */
    const char *key;
    dart_node node;
    dart_labels order; /* labels numbered as in the key */
    struct dart_shared *next;
} dart_shared;

enum { DART_BUCKETS = 4096 };

typedef struct dart_pass {
    const dart_graph *old;
    dart_graph *graph; /* being made */
    const dart_cost *cost;
    dart_arena arena;
    dart_node *map;    /* old node -> new node */
    uint32_t *regions; /* by new node: bit set of regions that its value was computed from */
    size_t region_capacity;
    bool *symmetric; /* by new node: its last two axes may be exchanged */
    size_t symmetric_capacity;
    dart_node *chain; /* by new node: next one in the same bucket */
    size_t chain_capacity;
    dart_node bucket[DART_BUCKETS];
    dart_node written[DART_REGIONS]; /* last new node that wrote a region */
    dart_shared *shared[DART_BUCKETS];
    dart_path_tree *tree;
} dart_pass;

/* Adds a node to the new graph, or returns an equal one whose inputs have not been overwritten
 * since. */
dart_node dart_pass_add(dart_pass *pass, const dart_node_info *info);
/* scale x + shift; of a constant a constant, of another such sum one sum. */
dart_node dart_pass_affine(dart_pass *pass, dart_node x, double scale, double shift);
/* The fill that a new node shows, NULL: it is none. */
const dart_node_info *dart_pass_constant(const dart_pass *pass, dart_node node);
/* True if what `node` was computed from has not been written after it. */
bool dart_pass_fresh(const dart_pass *pass, dart_node node);
/* The pairwise form of old node `contract`, whose operands are mapped already. */
DART_NODISCARD dart_status dart_pass_contract(dart_pass *pass, dart_node contract, dart_node *out);
uint32_t dart_text_hash(const char *text);

#endif
