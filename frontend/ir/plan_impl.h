/* The plan's storage; shared by plan.c and exec.c. */
#ifndef DART_PLAN_IMPL_H
#define DART_PLAN_IMPL_H

#include "planner.h"

typedef struct dart_kept {
    dart_node node;
    dart_slice slice; /* symbolic */
} dart_kept;

struct dart_plan {
    dart_arena arena;
    dart_launch *list; /* owned */
    const char **what; /* by launch */
    uint32_t count, windows, keeps;
    uint64_t window_words[256];
    dart_kept *kept;
    dart_plan_stats stats;
};

#endif
