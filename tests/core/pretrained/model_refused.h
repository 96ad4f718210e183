/* A scratch folder, and models that have to be refused. For one file of a program. */
#ifndef MODEL_REFUSED_H
#define MODEL_REFUSED_H

#include "model_files.h"
#include <setjmp.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-test-XXXXXX";
static unsigned executed;

static inline const char *path_of(const char *name)
{
    static char path[4][200];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 200, "%s/%s", folder, name);
    return out;
}

static inline void put_file(const char *name, const void *data, size_t size)
{
    (void)remove(path_of(name)); /* some file systems flush what is written over */
    FILE *file = fopen(path_of(name), "wb");
    assert_true(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

/* word: in the sentence; NULL: it is read. */
static inline void expect(const char *path, const char *what, const char *word)
{
    dart_pretrained *model = NULL;
    dart_status status = dart_pretrained_open(path, &model);
    if (!word && status != DART_OK) fail_msg("%s: %s", what, dart_error_text());
    if (word && status != DART_INPUT) fail_msg("%s: status %d", what, (int)status);
    if (word && !strstr(dart_error_text(), word)) fail_msg("%s: %s", what, dart_error_text());
    assert_int_equal(model == NULL, status != DART_OK);
    dart_pretrained_close(model);
    executed++;
}

static inline int set_up(void **state)
{
    (void)state;
    return !mkdtemp(folder);
}

static inline int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

#endif
