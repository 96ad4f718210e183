/* A gate: a mask on every bond of every chain, made in the graph of trained parameters and noise,
 * that learns which ranks a weight needs. A row of reg.def has a penalty or a gate. The parameters
 * of all bonds lie in one (bonds, stride) matrix, a row a bond: an entry an index of the bond, or
 * one a candidate rank. One file a gate; formulas: Louizos et al. 2018, Yang et al. 2024 (CoMERA),
 * Jang et al. 2017. */
#ifndef DART_GATE_H
#define DART_GATE_H

#include "method.h"
#include "rank_options.h"

typedef struct dart_gate_in { /* all (bonds, stride) unless said */
    uint32_t bonds, stride;
    dart_node param;
    dart_node valid;             /* 1 where there is an entry, else 0 */
    dart_node candidate;         /* ranks */
    dart_node triangle;          /* (stride, stride), 1 from the diagonal on */
    dart_node scale;             /* frozen; 0: the bond is not normalised */
    dart_node norms;             /* squared norms of the slices on both sides, multiplied */
    dart_node iscal;             /* step block */
    dart_node tau;               /* scalar */
    const dart_options *options; /* of the gate's row of reg.def */
} dart_gate_in;

typedef struct dart_gate_out {
    dart_node mask;    /* (bonds, stride): an entry's factor */
    dart_node rank;    /* (bonds): expected ranks */
    dart_node penalty; /* scalar that the weight multiplies; 0: the expected size is taken */
} dart_gate_out;

typedef struct dart_gate {
    bool by_candidate;  /* entries are candidate ranks, ascending */
    bool sorted;        /* bonds have to be in order of their singular values first */
    bool scaled;        /* uses norms and scale */
    bool driven;        /* a target drives l1 on the entries; else a Lagrangian holds it */
    double start;       /* first value of an entry; of candidate j: j times that */
    double rate;        /* learning rate relative to the model's */
    double least, most; /* bounds of an entry; equal: none */
    void (*build)(dart_graph *graph, const dart_gate_in *in, dart_gate_out *out);
    /* Of one bond on the host: expected rank; *count: ranks that evaluation keeps; *most: ranks
     * that it could keep. candidate: `entries` ranks, NULL where entries are indices. */
    double (*expect)(const float *param, uint32_t entries, const uint32_t *candidate,
        uint32_t *count, uint32_t *most);
    /* The factors of evaluation and of the cut when `count` ranks are kept; all else is 0. */
    void (*mask)(const float *param, uint32_t entries, const uint32_t *candidate, uint32_t count,
        float *out);
} dart_gate;

/* Streams of uniform noise (c3 = 5 in uniform.k). */
enum { DART_GATE_NOISE = 0, DART_GATE_PREFIX = 1, DART_GATE_TURN = 2 };

/* Ordered dropout (Horvath et al. 2021; Maestro): with probability p a bond keeps only a prefix of
 * its indices in this step, of a length uniform in 1..rank. position: index / rank. -> mask */
dart_node dart_ordered_mask(dart_graph *graph, uint32_t bonds, uint32_t stride, dart_node position,
    dart_node iscal, double p);

/* ---- the host's side, between steps ---- */
/* Rows of all gates (dart_row_budget and dart_row_min_rank too): learning rate relative to the
 * model's, 0: the gate's own. Of driven ones: the loss that the target gives way to, 0: none. Of
 * those by candidate: how many, temperature at first and at last. */
extern const dart_option_row dart_row_gate_rate, dart_row_target_loss, dart_row_gate_candidates,
    dart_row_tau, dart_row_tau_min;

typedef struct dart_gate_options {
    double weight;       /* of penalty or expected size, without a target */
    double target;       /* part of the size when the gates appeared; 0: none */
    dart_options values; /* of the gate's rows */
} dart_gate_options;

typedef struct dart_gate_state { /* belongs into checkpoints */
    uint64_t steps;              /* since the gates appeared */
    double l1, l2;               /* Lagrange multipliers */
    double first, size;          /* expected size of the first and the last step, relative */
    double loss;
} dart_gate_state;

typedef struct dart_gate_scalars {
    double tau, weight, l1, l2, target;
    double push; /* driven: of l1, in root mean squares of the entries' gradients */
} dart_gate_scalars;

/* grad (entries) of the loss, plus push (scalar) root mean squares of it where valid (entries) is
 * 1. */
dart_node dart_gate_push(dart_graph *graph, dart_node grad, dart_node valid, dart_node push);

/* What the step after `state` multiplies with; `whole`: steps of the stage. loss += weight *
 * penalty + l1 (s - target) + l2 (s - target)^2. */
void dart_gate_schedule(const dart_gate *gate, const dart_gate_options *options,
    const dart_gate_state *state, uint64_t whole, dart_gate_scalars *out);
/* Takes what the step measured; gradient ascent on the multipliers. */
void dart_gate_observe(const dart_gate *gate, const dart_gate_options *options,
    const dart_gate_scalars *used, double size, double loss, dart_gate_state *state);

/* counts[b] of kept ranks such that all chains have at most `target` words and as many of them as
 * fit; target 0: as they are, made admissible (r <= n r_neighbour). Moves away from counts where it
 * is nearest to expected[b], or with claims, (bonds, stride), descending in a row, gives up the
 * smallest claims and takes up the largest ones. levels: (bonds, stride) allowed ranks,
 * `entries[b]` of them, or NULL: all. INPUT: target below the smallest size, which the sentence
 * names. */
DART_NODISCARD dart_status dart_gate_fit(const dart_bond *bond, uint32_t bonds,
    const double *expected, const double *claims, const uint32_t *most, const uint32_t *levels,
    const uint32_t *entries, uint32_t stride, uint32_t min_rank, uint64_t target, uint32_t *counts);

#endif
