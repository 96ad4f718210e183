/* YAML files of people and of our own as trees: one document of scalars, lists and maps, each node
 * with its place. Files are bounded (1 MiB, 65,536 nodes, 32 levels, 1,024 keys in a map), so that
 * reading any file takes a moment; keys are words and stand once, hyphens and underscores alike. */
#ifndef DART_YAML_H
#define DART_YAML_H

#include "mem.h"

typedef enum dart_yaml_kind { DART_YAML_SCALAR, DART_YAML_LIST, DART_YAML_MAP } dart_yaml_kind;

typedef struct dart_yaml_node {
    dart_yaml_kind kind;
    uint32_t line, column; /* from 1 */
    const char *text;      /* of a scalar */
    uint32_t count;        /* items of a list, pairs of a map */
    /* the first item, or key; next: the item after this one, the value of a key, the key after a
     * value */
    struct dart_yaml_node *first, *next;
} dart_yaml_node;

typedef struct dart_yaml {
    dart_arena arena; /* all nodes and texts */
    const char *path; /* borrowed */
    const dart_yaml_node *root;
} dart_yaml;

/* INPUT: not such a file; the sentence begins with path:line:column. `what` it is: "recipe". Free
 * also after a failure. */
DART_NODISCARD dart_status dart_yaml_read(const char *path, const char *what, dart_yaml *out);
void dart_yaml_free(dart_yaml *yaml);

/* INPUT with the place of the node before the sentence. */
dart_status dart_yaml_refuse(const dart_yaml *yaml, const dart_yaml_node *node, const char *format,
    ...) __attribute__((format(printf, 3, 4)));
/* Passes a status on; a sentence about a bad key or value (USAGE, INPUT) gets the node's place and
 * becomes INPUT. */
DART_NODISCARD dart_status dart_yaml_at(
    const dart_yaml *yaml, const dart_yaml_node *node, dart_status status);
/* The text of a scalar of at most `most` bytes; `what` needs it. INPUT: the node is none, or
 * longer. */
DART_NODISCARD dart_status dart_yaml_text(const dart_yaml *yaml, const dart_yaml_node *node,
    const char *what, size_t most, const char **out);

/* Every pair of a map, every item of a list. */
#define DART_YAML_PAIRS(key, map)                                                                  \
    for (const dart_yaml_node *key = (map)->first; key; key = key->next->next)
#define DART_YAML_ITEMS(item, list)                                                                \
    for (const dart_yaml_node *item = (list)->first; item; item = item->next)

#endif
