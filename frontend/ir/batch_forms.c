/* Which launches are alike, and in what order those are tried that may become one. */
#include "batch.h"
#include <stdlib.h>
#include <string.h>

static bool tight(const dart_launch *launch)
{
    const gemm_params *p = dart_gemm_params(launch);
    const bool ta = launch->tune[DART_GEMM_TA], tb = launch->tune[DART_GEMM_TB];
    return p->lda == (ta ? p->m : p->k) && p->ldb == (tb ? p->k : p->n) && p->ldc == p->n &&
           p->a0 == p->m * p->k && p->b0 == p->k * p->n && p->c0 == p->m * p->n;
}

uint32_t dart_batch_chained(const dart_launch *launch)
{
    if (launch->kernel == DART_K_spd_fn)
        return ((const spd_fn_params *)(const void *)launch->param)->batch;
    if (launch->kernel != DART_K_gemm || launch->tune[DART_GEMM_ADD]) return 0;
    const gemm_params *p = dart_gemm_params(launch);
    return p->batch0 > 1 && p->batch1 == 1 && p->batch2 == 1 && p->m == p->n && p->n == p->k &&
                   tight(launch)
               ? p->batch0
               : 0;
}

void dart_batch_set_matrices(dart_launch *launch, uint32_t count)
{
    if (launch->kernel == DART_K_spd_fn)
        ((spd_fn_params *)(void *)launch->param)->batch = count;
    else
        ((gemm_params *)(void *)launch->param)->batch0 = count;
}

static dart_batch_form form_of(const dart_batching *b, uint32_t index)
{
    const dart_lowering *low = b->low;
    const uint32_t at = b->may.move[index].launch;
    const dart_launch *launch = &low->launch[at];
    dart_batch_form f;
    memset(&f, 0, sizeof f); /* compared whole */
    f.kernel = launch->kernel;
    memcpy(f.tune, launch->tune, sizeof f.tune);
    memcpy(f.param, launch->param, sizeof f.param);
    for (uint32_t k = 0; k < launch->buffers; k++) {
        const dart_storage *storage = &low->storage[low->bound[at][k].storage];
        f.region[k] = storage->region;
        if (storage->region == DART_REGION_NONE && !dart_batch_chained(launch))
            f.words[k] = storage->words;
    }
    if (dart_batch_chained(launch)) {
        dart_launch one = *launch;
        dart_batch_set_matrices(&one, 1);
        memcpy(f.param, one.param, sizeof f.param);
    }
    return f;
}

static int by_form(const void *a, const void *b)
{
    const dart_batch_entry *x = a, *y = b;
    const int sign = memcmp(&x->form, &y->form, sizeof x->form);
    return sign ? sign : x->item < y->item ? -1 : 1;
}

/* Functions of matrices first, whose launches take longest; then forms with weights or gradients:
 * what they read and make lies in the order of those, and others follow. */
static int by_rank(const void *a, const void *b)
{
    const dart_batch_entry *x = a, *y = b;
    const bool fx = x->form.kernel == DART_K_spd_fn, fy = y->form.kernel == DART_K_spd_fn;
    if (fx != fy) return fx ? -1 : 1;
    if (x->free != y->free) return x->free < y->free ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->item < y->item ? -1 : 1;
}

static int by_place(const void *a, const void *b)
{
    const dart_batch_entry *x = a, *y = b;
    for (int k = 0; k < 3; k++)
        if (x->key[k] != y->key[k]) return x->key[k] < y->key[k] ? -1 : 1;
    return x->item < y->item ? -1 : 1;
}

/* The operand that cannot lie elsewhere any more, the result first; DART_MAX_BUFS: all can. */
static uint32_t fixed_operand(const dart_batching *b, const dart_move *i)
{
    for (uint32_t k = dart_batch_result_of(dart_batch_launch_of(b, i)) + 1; k-- > 0;)
        if (dart_batch_fixed(b, dart_batch_value_of(b, i, k).storage)) return k;
    return DART_MAX_BUFS;
}

/* Where such an operand of a product lies that reads what this one makes; false: nowhere yet. */
static bool place_behind(const dart_batching *b, const dart_move *i, dart_value *out)
{
    for (size_t w = 0; w < b->may.waits; w++) {
        const uint32_t next = b->may.move_of[b->may.wait[w].to];
        if (b->may.wait[w].from != i->launch || !next) continue;
        const uint32_t k = fixed_operand(b, &b->may.move[next - 1]);
        if (k == DART_MAX_BUFS) continue;
        *out = dart_batch_value_of(b, &b->may.move[next - 1], k);
        return true;
    }
    return false;
}

/* The first launch that waits for this one. */
static uint32_t first_reader(const dart_batching *b, const dart_move *i)
{
    uint32_t first = UINT32_MAX;
    for (size_t w = 0; w < b->may.waits; w++)
        if (b->may.wait[w].from == i->launch && b->may.wait[w].to < first)
            first = b->may.wait[w].to;
    return first;
}

void dart_batch_sort(const dart_batching *b, dart_batch_entry *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const dart_move *move = &b->may.move[list[i].item];
        const uint32_t operand = fixed_operand(b, move);
        dart_value v = {0};
        if (operand < DART_MAX_BUFS) {
            list[i].key[0] = 2 - operand;
            v = dart_batch_value_of(b, move, operand);
        } else {
            list[i].key[0] = place_behind(b, move, &v) ? 3 : 4;
        }
        list[i].key[1] = list[i].key[0] < 4 ? v.storage : first_reader(b, move);
        list[i].key[2] = v.offset;
    }
    qsort(list, count, sizeof *list, by_place);
}

void dart_batch_list(const dart_batching *b, dart_batch_entry *list)
{
    for (uint32_t i = 0; i < b->may.moves; i++)
        list[i] = (dart_batch_entry){.form = form_of(b, i), .item = i};
    qsort(list, b->may.moves, sizeof *list, by_form);
    for (uint32_t i = 0; i < b->may.moves; i++) {
        const bool same = i && !memcmp(&list[i].form, &list[i - 1].form, sizeof list->form);
        list[i].rank = same ? list[i - 1].rank : list[i].item;
        list[i].free = true;
        for (int k = 0; k < 3; k++) list[i].free &= list[i].form.region[k] == DART_REGION_NONE;
    }
    qsort(list, b->may.moves, sizeof *list, by_rank);
}
