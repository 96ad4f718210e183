/* Which nodes carry tokens: what the forward pass makes of them, and the gradients of that. What is
 * made of parameters alone, as penalties and merged cores, is neither. */
#include "planner.h"

void dart_find_roles(const dart_graph *graph, dart_role *role)
{
    for (dart_node n = 1; n <= dart_graph_count(graph); n++) {
        const dart_node_info *info = dart_node_get(graph, n);
        role[n] = DART_ROLE_NONE;
        if (info->op == DART_OP_leaf && info->i[0] == DART_REGION_INPUT)
            role[n] = DART_ROLE_ACTIVATION;
        for (uint32_t i = 0; i < info->inputs; i++)
            if (role[info->in[i]] > role[n]) role[n] = role[info->in[i]];
        /* the head makes its gradients by hand, of every loss's logits */
        if (info->op == DART_OP_cross_entropy_dx) role[n] = DART_ROLE_GRADIENT;
    }
}
