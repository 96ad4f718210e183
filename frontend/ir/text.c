/* The graph as text, one node a line, and back:
 *   %7 = contract(%5, %6) [ints] {floats} "text" : f32[8,128] @blocks.0.attn */
#include "graph_impl.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void dart_node_format(const dart_graph *graph, dart_node node, char *out, size_t size)
{
    const dart_node_info *info = graph->node[node];
    char shape[128];
    size_t at = 0;
#define PUT(...)                                                                                   \
    do {                                                                                           \
        if (at < size) at += (size_t)snprintf(out + at, size - at, __VA_ARGS__);                   \
    } while (0)
    PUT("%%%u = %s(", node, dart_op_info_of(info->op)->name);
    for (uint32_t i = 0; i < info->inputs; i++) PUT(i ? ", %%%u" : "%%%u", info->in[i]);
    PUT(")");
    if (info->ints) {
        for (uint32_t i = 0; i < info->ints; i++)
            PUT(i ? ",%lld" : " [%lld", (long long)info->i[i]);
        PUT("]");
    }
    if (info->floats) {
        for (uint32_t i = 0; i < info->floats; i++) PUT(i ? ",%.17g" : " {%.17g", info->f[i]);
        PUT("}");
    }
    if (info->text) PUT(" \"%s\"", info->text);
    PUT(" : %s%s", dart_dtype_name(info->dtype), dart_shape_format(&info->shape, shape));
    if (graph->scope_of[node][0]) PUT(" @%s", graph->scope_of[node]);
#undef PUT
}

void dart_graph_print(const dart_graph *graph, FILE *out)
{
    char line[1024];
    for (dart_node y = 1; y <= graph->count; y++) {
        dart_node_format(graph, y, line, sizeof line);
        fprintf(out, "%s\n", line);
    }
}

static dart_op find_op(const char *name, size_t length)
{
    for (int op = 1; op < DART_OPS; op++) {
        const char *candidate = dart_op_info_of((dart_op)op)->name;
        if (strlen(candidate) == length && strncmp(candidate, name, length) == 0)
            return (dart_op)op;
    }
    return DART_OP_none;
}

static bool eat(const char **at, const char *token)
{
    while (**at == ' ') (*at)++;
    size_t n = strlen(token);
    if (strncmp(*at, token, n) != 0) return false;
    *at += n;
    return true;
}

static bool eat_int(const char **at, int64_t *out)
{
    char *end;
    *out = strtoll(*at, &end, 10);
    if (end == *at) return false;
    *at = end;
    return true;
}

static bool eat_float(const char **at, double *out)
{
    char *end;
    *out = strtod(*at, &end);
    if (end == *at) return false;
    *at = end;
    return true;
}

static bool eat_dtype(const char **at, dart_dtype *out)
{
    while (**at == ' ') (*at)++;
    const size_t n = strcspn(*at, "[");
    for (int type = 0; type < DART_DTYPES + DART_PACKED_FORMATS; type++) {
        const char *name = dart_dtype_name((dart_dtype)type);
        if (strlen(name) != n || strncmp(name, *at, n)) continue;
        *at += n;
        *out = (dart_dtype)type;
        return true;
    }
    return false;
}

/* One line into info; text and scope point into buffers of at least the line's length. */
static bool parse_line(
    const char *at, int64_t *number, dart_node_info *info, char *text, char *scope)
{
    int64_t value;
    *text = *scope = 0;
    if (!eat(&at, "%") || !eat_int(&at, number) || !eat(&at, "=")) return false;
    while (*at == ' ') at++;
    size_t name = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
    info->op = find_op(at, name);
    at += name;
    if (info->op == DART_OP_none || !eat(&at, "(")) return false;
    while (!eat(&at, ")")) {
        if ((info->inputs && !eat(&at, ",")) || !eat(&at, "%") || !eat_int(&at, &value) ||
            info->inputs >= DART_MAX_IN || value < 1 || value > UINT32_MAX)
            return false;
        info->in[info->inputs++] = (dart_node)value;
    }
    if (eat(&at, "[")) do {
            if (info->ints >= DART_MAX_INTS || !eat_int(&at, &info->i[info->ints++])) return false;
        } while (!eat(&at, "]") && eat(&at, ","));
    if (eat(&at, "{")) do {
            if (info->floats >= DART_MAX_FLOATS || !eat_float(&at, &info->f[info->floats++]))
                return false;
        } while (!eat(&at, "}") && eat(&at, ","));
    if (eat(&at, "\"")) {
        size_t n = strcspn(at, "\"");
        if (at[n] != '"') return false;
        memcpy(text, at, n);
        text[n] = 0;
        info->text = text;
        at += n + 1;
    }
    if (!eat(&at, ":")) return false;
    if (!eat_dtype(&at, &info->dtype) || !eat(&at, "[")) return false;
    while (!eat(&at, "]")) {
        if ((info->shape.rank && !eat(&at, ",")) || !eat_int(&at, &value) ||
            info->shape.rank >= DART_MAX_RANK || value < 0 || value > UINT32_MAX)
            return false;
        info->shape.dim[info->shape.rank++] = (uint32_t)value;
    }
    if (eat(&at, "@")) {
        strcpy(scope, at);
        at += strlen(at);
    }
    while (isspace((unsigned char)*at)) at++;
    return !*at;
}

dart_status dart_graph_parse(const char *source, dart_graph **out_graph)
{
    dart_graph *graph = NULL;
    dart_status status = DART_OK;
    size_t longest = strlen(source) + 1;
    char *line = dart_calloc(3, longest);
    *out_graph = NULL;
    if (!line) return DART_MEMORY;
    char *text = line + longest, *scope = text + longest;
    DART_GOTO(dart_graph_new(&graph));
    uint32_t row = 0;
    for (const char *at = source; *at;) {
        size_t n = strcspn(at, "\n");
        memcpy(line, at, n);
        line[n] = 0;
        at += n + (at[n] == '\n');
        row++;
        if (line[strspn(line, " \t\r")] == 0 || line[0] == '#') continue;
        int64_t number;
        dart_node_info info = {0};
        if (!parse_line(line, &number, &info, text, scope)) {
            status = dart_fail(DART_INPUT,
                "graph text, line %u: expected \"%%n = op(%%a, ...) [ints] {floats} \"text\" : "
                "f32[dims] "
                "@scope\", got \"%.80s\"",
                row, line);
            goto done;
        }
        dart_graph_scope(graph, scope);
        dart_shape stated = info.shape;
        dart_node node = dart_graph_add(graph, &info);
        if (!node) {
            (void)dart_graph_check(graph);
            char why[512];
            snprintf(why, sizeof why, "%s", dart_error_text());
            status = dart_fail(DART_INPUT, "graph text, line %u: %s", row, why);
            goto done;
        }
        if (node != number || !dart_shape_equal(&stated, &graph->node[node]->shape)) {
            status = dart_fail(DART_INPUT,
                "graph text, line %u: number or shape differs from what the op gives (node %u)",
                row, node);
            goto done;
        }
    }
    *out_graph = graph;
    graph = NULL;
done:
    dart_graph_free(graph);
    free(line);
    return status;
}
