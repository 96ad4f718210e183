/* Inside this room only: the body of a model as graph nodes. */
#ifndef DART_NN_LAYERS_H
#define DART_NN_LAYERS_H

#include "model.h"

typedef struct dart_build { /* one model being built into one graph */
    const dart_model *model;
    dart_graph *graph;
    const dart_model_leaves *leaves;
    bool training;
    uint32_t batch, time;
    dart_node embedding; /* dense table (padded vocabulary, d_model), made on first use */
} dart_build;

/* The dense table of the token embedding; the same node every time. */
dart_node dart_build_table(dart_build *b);
/* Embedding and all blocks: (B,T,C), before the final norm. */
dart_node dart_build_body(dart_build *b);
/* norm with params w, bias (bias -1 for RMSNorm). */
dart_node dart_build_norm(const dart_build *b, dart_node x, int w, int bias);

#endif
