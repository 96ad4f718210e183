/* Ranks of layers x bonds before and after each selection, and parameters by module. */
#include "report.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "blocks.3.attn.q": stem "blocks", layer 3, module "attn.q". A name without a number has layer -1
 * and is its own module. */
typedef struct place {
    char stem[64], module[96];
    long layer;
} place;

static place place_of(const char *name)
{
    place p = {.layer = -1};
    snprintf(p.module, sizeof p.module, "%s", name);
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        char *end;
        if (!isdigit((unsigned char)dot[1])) continue;
        p.layer = strtol(dot + 1, &end, 10);
        snprintf(p.stem, sizeof p.stem, "%.*s", (int)(dot - name), name);
        snprintf(p.module, sizeof p.module, "%s", *end == '.' ? end + 1 : end);
        break;
    }
    return p;
}

enum { MAX_MODULES = 64, BAR_LEFT = 8, BAR_W = 310, BAR_ROW = 66 };

static bool has_bonds(const dart_record_weight *w)
{
    return w->bonds > 0;
}

static const dart_record_weight *find(
    const dart_record_run *run, uint32_t state, const char *stem, const char *module, long layer)
{
    for (size_t i = 0; i < run->weights; i++) {
        const dart_record_weight *w = &run->weight[i];
        place p = place_of(w->name);
        if (w->state == state && has_bonds(w) && !strcmp(p.stem, stem) &&
            !strcmp(p.module, module) && p.layer == layer)
            return w;
    }
    return NULL;
}

/* Whether weight i is the first of its state that satisfies what `same` compares. */
static bool first_of(const dart_record_run *run, size_t i, bool by_module, bool by_layer)
{
    place p = place_of(run->weight[i].name);
    for (size_t k = 0; k < i; k++) {
        const dart_record_weight *w = &run->weight[k];
        if (w->state != run->weight[i].state || has_bonds(w) != has_bonds(&run->weight[i]))
            continue;
        place q = place_of(w->name);
        if (!strcmp(p.stem, q.stem) && (!by_module || !strcmp(p.module, q.module)) &&
            (!by_layer || p.layer == q.layer))
            return false;
    }
    return true;
}

static void cells(const dart_record_weight *w, uint32_t bonds, uint32_t most, FILE *out)
{
    for (uint32_t k = 0; k < bonds; k++) {
        if (!w || k >= w->bonds) {
            fputs("<td></td>", out);
            continue;
        }
        uint8_t rgb[3];
        double at = most > 1 ? log(w->ranks[k]) / log(most) : 1;
        dart_report_colour(at, rgb);
        fprintf(out, "<td class=\"rk\" style=\"background:#%02x%02x%02x;color:%s\" title=\"",
            rgb[0], rgb[1], rgb[2], at > 0.55 ? "#000" : "#fff");
        dart_report_escape(w->name, out);
        fprintf(out, ", bond %u", k + 1);
        if (w->n[k] && k + 1 < DART_RECORD_BONDS)
            fprintf(out, ": core sizes %u and %u", w->n[k], w->n[k + 1]);
        fprintf(out, "\">%u</td>", w->ranks[k]);
    }
}

/* One table: the layers of one stem, or the weights outside of layers. */
static void map_table(
    const dart_record_run *run, uint32_t state, const char *stem, uint32_t most, FILE *out)
{
    bool layers = *stem;
    uint32_t widest = 0;
    const dart_record_weight *column[MAX_MODULES]; /* the first weight of each module */
    size_t columns = 0;
    fputs("<div class=\"sc\"><table class=\"map\"><tr><th></th>", out);
    for (size_t i = 0; i < run->weights; i++) {
        const dart_record_weight *w = &run->weight[i];
        place p = place_of(w->name);
        if (w->state != state || !has_bonds(w) || strcmp(p.stem, stem)) continue;
        if (w->bonds > widest) widest = w->bonds;
        if (!layers || columns == MAX_MODULES || !first_of(run, i, true, false)) continue;
        column[columns++] = w;
        fprintf(out, "<th colspan=\"%u\">", w->bonds);
        dart_report_escape(p.module, out);
        fputs("</th>", out);
    }
    if (!layers) fprintf(out, "<th colspan=\"%u\">bonds</th>", widest);
    fputs("</tr>\n", out);
    for (size_t i = 0; i < run->weights; i++) {
        const dart_record_weight *w = &run->weight[i];
        place p = place_of(w->name);
        if (w->state != state || !has_bonds(w) || strcmp(p.stem, stem)) continue;
        if (layers && !first_of(run, i, false, true)) continue;
        fputs("<tr><th>", out);
        dart_report_escape(layers ? stem : w->name, out);
        if (layers) fprintf(out, ".%ld", p.layer);
        fputs("</th>", out);
        if (!layers) cells(w, widest, most, out);
        for (size_t k = 0; k < columns; k++)
            cells(find(run, state, stem, place_of(column[k]->name).module, p.layer),
                column[k]->bonds, most, out);
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

/* What the selection took from each weight. */
static void cut_table(const dart_record_run *run, uint32_t state, FILE *out)
{
    bool headed = false;
    for (size_t i = 0; i < run->weights; i++) {
        const dart_record_weight *w = &run->weight[i];
        if (w->state != state || isnan(w->cut_error)) continue;
        if (!headed)
            fputs("<details><summary>What was cut from each weight</summary>\n"
                  "<p>The error is what the weight lost, relative to its norm; it is at most the "
                  "root of "
                  "the summed squares of all singular values that were cut off.</p>\n"
                  "<div class=\"sc\"><table><tr><th></th><th>ranks</th><th>parameters</th>"
                  "<th>error</th><th>at most</th></tr>\n",
                out);
        headed = true;
        fputs("<tr><th>", out);
        dart_report_escape(w->name, out);
        fputs("</th><td>", out);
        for (uint32_t k = 0; k < w->bonds; k++)
            fprintf(out, "%s%u to %u", k ? ", " : "", w->before[k], w->ranks[k]);
        if (!has_bonds(w)) fputs("lost", out);
        fprintf(out, "</td><td>%.0f to %.0f</td><td>%.4f</td><td>%.4f</td></tr>\n",
            w->params_before, w->params, w->cut_error, w->cut_error_bound);
    }
    if (headed) fputs("</table></div></details>\n", out);
}

void dart_report_map_write(const dart_record_run *run, FILE *out)
{
    uint32_t most = 0;
    for (size_t i = 0; i < run->weights; i++)
        for (uint32_t k = 0; k < run->weight[i].bonds; k++)
            if (run->weight[i].ranks[k] > most) most = run->weight[i].ranks[k];
    if (!most) return;
    fputs("<h3>Ranks</h3>\n", out);
    for (uint32_t state = 0; state < run->states; state++) {
        bool headed = false;
        for (size_t i = 0; i < run->weights; i++) {
            const dart_record_weight *w = &run->weight[i];
            if (w->state != state || !has_bonds(w)) continue;
            if (!headed) {
                fprintf(out, "<h4>%s", state ? "After " : "Before, step ");
                if (state) {
                    if (*w->stage) dart_report_escape(w->stage, out), fputs(" (", out);
                    dart_report_escape(w->rule, out);
                    fputs(*w->stage ? "), step " : ", step ", out);
                }
                fprintf(out, "%.0f</h4>\n", w->step);
                headed = true;
            }
            if (first_of(run, i, false, false))
                map_table(run, state, place_of(w->name).stem, most, out);
        }
        if (state) cut_table(run, state, out);
    }
}

/* ---- parameters by module ---- */

typedef struct module {
    char name[170];
    double dense, before, after;
    bool compressed;
} module;

static void bar(FILE *out, double y, double part, const char *css, const char *label, double value)
{
    char text[32];
    dart_report_tick(value, text);
    fprintf(out,
        "<rect class=\"%s\" x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"10\"/><text class=\"t "
        "th\" x=\"%.1f\" y=\"%.0f\">%s %s</text>\n",
        css, BAR_LEFT, y, fmax(BAR_W * part, 1), BAR_LEFT + fmax(BAR_W * part, 1) + 4, y + 9, text,
        label);
}

static void module_bars(const module *m, double y, bool picked, FILE *out)
{
    fprintf(out, "<text class=\"t\" x=\"%d\" y=\"%.0f\">", BAR_LEFT, y + 12);
    dart_report_escape(m->name, out);
    if (m->compressed)
        fprintf(out, ": %.1f times smaller than dense", m->dense / (picked ? m->after : m->before));
    fputs("</text>\n", out);
    bar(out, y + 17, 1, "b0", m->compressed ? "dense" : "not compressed", m->dense);
    if (!m->compressed) return;
    bar(out, y + 30, m->before / m->dense, "f0", picked ? "before" : "", m->before);
    if (picked) bar(out, y + 43, m->after / m->dense, "f1", "after", m->after);
}

/* The modules of all layers added up. Returns how many there are. */
static size_t modules(const dart_record_run *run, module out[MAX_MODULES], module *all)
{
    size_t count = 0;
    *all = (module){.name = "all compressed modules", .compressed = true};
    for (size_t i = 0; i < run->weights; i++) {
        const dart_record_weight *w = &run->weight[i];
        if (isnan(w->params) || (w->state && w->state != run->states - 1)) continue;
        place p = place_of(w->name);
        char name[170];
        snprintf(name, sizeof name, "%s%s%s", p.stem, *p.stem ? ".*." : "", p.module);
        size_t k = 0;
        while (k < count && strcmp(out[k].name, name)) k++;
        if (k == MAX_MODULES) continue;
        if (k == count) {
            out[count++] = (module){0};
            memcpy(out[k].name, name, sizeof name);
        }
        bool compressed = strcmp(w->method, "dense") && strcmp(w->method, "frozen");
        out[k].compressed |= compressed;
        if (w->state == 0) {
            out[k].dense += w->dense;
            out[k].before += w->params;
            if (compressed) all->dense += w->dense, all->before += w->params;
        }
        if (w->state == run->states - 1) {
            out[k].after += w->params;
            if (compressed) all->after += w->params;
        }
    }
    return count;
}

void dart_report_modules_write(const dart_record_run *run, FILE *out)
{
    module m[MAX_MODULES], all;
    size_t count = modules(run, m, &all);
    if (!count) return;
    bool picked = run->states > 1;
    double height = 4;
    for (size_t i = 0; i < count; i++) height += m[i].compressed ? BAR_ROW : 34;
    if (all.dense > 0) height += BAR_ROW;
    fputs("<h3>Parameters by module</h3>\n", out);
    fprintf(out,
        "<p>All layers added up; the bars are relative to the dense form of the module%s.</p>\n"
        "<figure><svg viewBox=\"0 0 480 %.0f\" role=\"img\" aria-label=\"Parameters by module\">\n",
        picked ? ", before and after the selections" : "", height);
    double y = 2;
    if (all.dense > 0) module_bars(&all, y, picked, out), y += BAR_ROW;
    for (size_t i = 0; i < count; i++) {
        module_bars(&m[i], y, picked, out);
        y += m[i].compressed ? BAR_ROW : 34;
    }
    fputs("</svg></figure>\n", out);
}
