/* The list of kernels that a driver could not make lasts over runs, and forgets kernels whose texts
 * have changed since. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "refused.h"
#include "geometry.h"
#include "sealed.h"

static char folder[] = "/tmp/dart-refused-XXXXXX", file[1200];

static dart_launch map_of(uint32_t op)
{
    dart_launch launch = {.kernel = DART_K_map};
    const map_params p = {.n = 64, .bdiv = 1, .bmod = 64};
    const dart_caps caps = {.max_groups = {65535, 65535, 65535}};
    memcpy(launch.param, &p, sizeof p);
    launch.tune[DART_MAP_OP] = op;
    assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
    return launch;
}

static bool known(const dart_device *device, uint32_t op)
{
    const dart_launch launch = map_of(op);
    const dart_form form = dart_form_of(&launch);
    dart_refused *refused;
    assert_int_equal(dart_refused_open(device, &refused), DART_OK);
    const bool has = dart_refused_has(refused, &form);
    dart_refused_close(refused);
    return has;
}

static void add(const dart_device *device, uint32_t op)
{
    const dart_launch launch = map_of(op);
    dart_refused *refused;
    assert_int_equal(dart_refused_open(device, &refused), DART_OK);
    assert_int_equal(dart_refused_add(refused, &launch), DART_OK);
    dart_refused_close(refused);
}

static void changed_kernels_are_tried_again(void **state)
{
    const dart_device *device = *state;
    char *whole = NULL, *copy;
    const void *data;
    size_t size;
    glob_t found;
    assert_false(known(device, 3));
    add(device, 3);
    add(device, 5);
    assert_true(known(device, 3) && known(device, 5) && !known(device, 4));

    snprintf(file, sizeof file, "%s/dart-llm/refused-*.bin", folder);
    assert_int_equal(glob(file, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    snprintf(file, sizeof file, "%s", found.gl_pathv[0]);
    globfree(&found);
    assert_int_equal(dart_sealed_read(file, "dartrf4", &whole, &data, &size), DART_OK);
    assert_non_null(copy = malloc(size));
    memcpy(copy, data, size);
    copy[size - 1] ^= 1; /* of the second record's texts */
    assert_int_equal(dart_sealed_write(file, "dartrf4", copy, size), DART_OK);
    free(copy);
    free(whole);
    assert_true(known(device, 3) && !known(device, 5));
    add(device, 5); /* and is kept anew */
    assert_true(known(device, 3) && known(device, 5));
}

static void what_cannot_be_read_is_none(void **state)
{
    const dart_device *device = *state;
    FILE *out = fopen(file, "r+b");
    assert_non_null(out);
    assert_int_equal(fseek(out, -1, SEEK_END), 0);
    const int last = fgetc(out);
    assert_int_equal(fseek(out, -1, SEEK_END), 0);
    assert_true(fputc(last ^ 1, out) != EOF);
    assert_int_equal(fclose(out), 0);
    assert_false(known(device, 3));
    add(device, 4);
    assert_true(known(device, 4));
}

static int set_up(void **state)
{
    dart_device *device;
    if (!mkdtemp(folder) || setenv("XDG_CACHE_HOME", folder, 1)) return -1;
    if (dart_device_open("cpu", NULL, &device) != DART_OK) return -1;
    *state = device;
    return 0;
}

static int clean_up(void **state)
{
    char path[1300];
    dart_device_close(*state);
    remove(file);
    snprintf(path, sizeof path, "%s/dart-llm", folder);
    remove(path);
    return remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(changed_kernels_are_tried_again),
        cmocka_unit_test(what_cannot_be_read_is_none)};
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
