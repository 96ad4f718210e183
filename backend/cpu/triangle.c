/* Causal attention: a softmax that hides later positions leaves zeros above the diagonals of its
 * squares, and so does its gradient. Products that read such squares need not multiply the zeros,
 * and what a product makes for such a softmax alone is needed on and below the diagonals only. That
 * is half of attention's work. */
#include "triangle.h"
#include <stdlib.h>

/* How many launches back the product that made a softmax's input is looked for. */
enum { WINDOW = 16 };

/* Squares of side x side words, one after the other, with zeros above their diagonals. */
typedef struct squares {
    dart_slice at;
    uint32_t side;
} squares;

typedef struct search {
    const dart_launch *list;
    cpu_work *work;
    squares *known;
    size_t count, room;
} search;

static bool same(const dart_slice *a, const dart_slice *b)
{
    return a->buffer == b->buffer && a->offset == b->offset && a->words == b->words;
}

static bool meet(const dart_slice *a, const dart_slice *b)
{
    return a->buffer == b->buffer && a->offset < b->offset + b->words &&
           b->offset < a->offset + a->words;
}

static uint32_t side_of(const search *s, const dart_slice *slice)
{
    for (size_t i = 0; i < s->count; i++)
        if (same(&s->known[i].at, slice)) return s->known[i].side;
    return 0;
}

/* What the launch writes is no longer known. */
static void forget(search *s, const dart_launch *launch)
{
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    for (uint32_t b = 0; b < launch->buffers; b++) {
        if (!(info->access[b] & DART_OUT)) continue;
        for (size_t i = 0; i < s->count;)
            if (meet(&s->known[i].at, &launch->buf[b]))
                s->known[i] = s->known[--s->count];
            else
                i++;
    }
}

/* Squares of which matrices of a product are made: `ld` words to the next row, `step` to the next
 * matrix of each level of the batch. */
static bool fits(const gemm_params *p, uint64_t side, uint64_t ld, const uint32_t step[3])
{
    const uint32_t times[] = {p->batch0, p->batch1, p->batch2};
    for (int i = 0; i < 3; i++)
        if (times[i] > 1 && step[i] % (side * side)) return false;
    return ld == side;
}

/* The product that made `made` for this launch alone, which reads it and writes in its place. */
static void lower_result(search *s, uint32_t reader, const dart_slice *made, uint32_t side)
{
    for (uint32_t back = 1; back <= WINDOW && back <= reader; back++) {
        const uint32_t at = reader - back;
        const dart_launch *launch = &s->list[at];
        bool touches = false;
        for (uint32_t b = 0; b < launch->buffers; b++) touches |= meet(&launch->buf[b], made);
        if (!touches) continue;
        const gemm_params *p = (const gemm_params *)(const void *)launch->param;
        if (launch->kernel == DART_K_gemm && same(&launch->buf[2], made) && p->beta == 0 &&
            !launch->tune[DART_GEMM_ADD] && p->n == side &&
            fits(p, side, p->ldc, (uint32_t[]){p->c0, p->c1, p->c2}) &&
            (uint64_t)p->batch0 * p->batch1 * p->batch2 * p->m * side == made->words)
            s->work[at].lower[2] = side;
        return;
    }
}

static void lower_operand(search *s, uint32_t at)
{
    const dart_launch *launch = &s->list[at];
    const gemm_params *p = (const gemm_params *)(const void *)launch->param;
    const uint32_t side = side_of(s, &launch->buf[0]);
    const uint32_t along = launch->tune[DART_GEMM_TA] ? p->m : p->k;
    if (side && along == side && fits(p, side, p->lda, (uint32_t[]){p->a0, p->a1, p->a2}))
        s->work[at].lower[0] = side;
}

/* The side of the squares that the launch fills with zeros above their diagonals; 0: none. */
static uint32_t fills(const search *s, const dart_launch *launch)
{
    if (launch->kernel == DART_K_softmax) {
        const softmax_params *p = (const softmax_params *)(const void *)launch->param;
        const bool whole = p->time == p->cols && p->rows % p->time == 0;
        return launch->tune[DART_SOFTMAX_CAUSAL] && whole ? p->cols : 0;
    }
    return launch->kernel == DART_K_softmax_dx ? side_of(s, &launch->buf[0]) : 0;
}

dart_status dart_cpu_triangles(const dart_launch *list, cpu_work *work, uint32_t count)
{
    dart_status status = DART_OK;
    search s = {.list = list, .work = work};
    for (uint32_t i = 0; i < count; i++) {
        const dart_launch *launch = &list[i];
        const uint32_t side = fills(&s, launch);
        if (launch->kernel == DART_K_gemm) lower_operand(&s, i);
        if (launch->kernel == DART_K_softmax_dx) work[i].lower[0] = side;
        forget(&s, launch);
        if (!side) continue;
        const dart_slice *out = &launch->buf[launch->buffers - 1];
        const dart_slice *in = &launch->buf[launch->buffers - 2];
        if (same(in, out)) lower_result(&s, i, in, side);
        DART_GOTO(dart_grow((void **)&s.known, &s.room, s.count + 1, sizeof *s.known));
        s.known[s.count++] = (squares){*out, side};
    }
done:
    free(s.known);
    return status;
}
