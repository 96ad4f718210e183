/* Weights as inference multiplies by them. They do not change between tokens, so cores are merged
 * once: into two halves, into the dense matrix, or not at all. What decoding needs lies in the
 * region FORM, and PARAM can be given back after the prepare program has run; so can FROZEN, unless
 * matrices in it are packed, which are read there. */
#ifndef DART_FORMS_H
#define DART_FORMS_H

#include "model.h"

/* AUTO: what is cheapest for one token by the device's prices, bytes read included; but the token
 * table stays a chain where that costs at most a twentieth of the token. */
typedef enum dart_infer_weights {
    DART_INFER_AUTO,
    DART_INFER_CORES,
    DART_INFER_HALVES,
    DART_INFER_DENSE
} dart_infer_weights;

/* One product: a term of the weight's network, or the sum of all terms as a dense matrix. */
typedef struct dart_form_part {
    dart_merge merge;
    uint64_t offset[DART_MAX_CORES]; /* of the groups */
    const dart_param *packed;        /* the one group, which is read in FROZEN; NULL: none */
} dart_form_part;

/* y = W x. Weights of one shape that read the same x (q, k, v; gate, up) are bundled where they
 * can: their groups lie side by side, ranks padded with zeros to the largest, and one product
 * serves all: on most devices a token costs launches, not arithmetic. */
typedef struct dart_form {
    uint32_t first, parts;             /* in dart_forms.part; 0 parts: unused */
    bool summed;                       /* several terms are one dense matrix */
    dart_shape padded[DART_MAX_CORES]; /* of the operands; rank 0: as they are */
    uint32_t bundle, place;            /* 0: alone; else bundle numbers from 1, place in it */
} dart_form;

enum { DART_TABLE_GROUPS = DART_MAX_TERMS * DART_MAX_CORES };

/* Some operands of a term, multiplied; rows by the digits of the token's number that they hold. */
typedef struct dart_table_group {
    uint32_t term, mask; /* of the network; operands */
    char make[160];      /* einsum that makes it, row digits first */
    char labels[16];     /* what one row has */
    dart_shape shape;    /* of one row */
    uint32_t rows;       /* 0: no row digit, taken as it is */
    uint32_t first;      /* digits [first, first + digits) of the row number */
    uint32_t digits;
    uint32_t below; /* what a row number is divided by to get at these digits */
    uint64_t offset;
} dart_table_group;

typedef struct dart_table_form { /* rows of W by their number */
    uint32_t groups, parts;
    dart_table_group group[DART_TABLE_GROUPS];
    uint32_t first[DART_MAX_TERMS + 1]; /* groups [first[p], first[p + 1]) are part p's */
    char text[DART_MAX_TERMS][200];     /* of a part's gathered rows, "Z" first */
    bool summed;
    const dart_param *packed; /* the one group, which is read in FROZEN; NULL: none */
    uint64_t words;
    double seconds;
} dart_table_form;

typedef struct dart_forms {
    const dart_model *model;
    dart_form *form;      /* owned, one a weight (of a table that is no head: unused) */
    dart_form_part *part; /* owned */
    uint32_t parts;
    size_t part_capacity;
    uint32_t bundles;
    dart_table_form table;
    uint64_t *vector; /* owned, one a param: where norms, biases and positions lie */
    uint64_t words;   /* of the region */
    double seconds;   /* of one token, weights only */
} dart_forms;

/* Chooses forms for `rows` tokens at once and lays out the region. */
DART_NODISCARD dart_status dart_forms_new(const dart_model *model, dart_infer_weights how,
    uint32_t rows, const dart_cost *cost, dart_forms *out);
void dart_forms_free(dart_forms *forms);
/* The graph that fills FORM from PARAM and FROZEN. */
DART_NODISCARD dart_status dart_forms_prepare(const dart_forms *forms, dart_graph *graph);
/* x (..., in) -> (..., padded out). */
dart_node dart_form_apply(const dart_forms *forms, dart_graph *graph, uint32_t weight, dart_node x);
/* y_i = W_i x + bias_i (bias -1: none), for n weights that read the same x: out[i] (..., out), and
 * in *out_stack all of them (n, rows of x, out), or 0 where they are not bundled. */
void dart_form_apply_all(const dart_forms *forms, dart_graph *graph, uint32_t n, const int *weight,
    const int *bias, dart_node x, dart_node *out, dart_node *out_stack);
/* A vector or the positions. */
dart_node dart_form_vector(const dart_forms *forms, dart_graph *graph, int param);
/* `n` rows of the token table: ids[g] i32 (n), one leaf a group with digits (0 elsewhere) -> (n,
 * C).
 */
dart_node dart_form_rows(
    const dart_forms *forms, dart_graph *graph, const dart_node *ids, uint32_t n);
/* The number of group g's row for token `id`. */
uint32_t dart_form_row(const dart_forms *forms, uint32_t group, uint32_t id);

#endif
