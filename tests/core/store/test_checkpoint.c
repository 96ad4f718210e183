/* The checkpoint protocol: whole or not at all, under truncation, flipped bits, a full disk and
 * leftovers. */
#include "full_disk.h"
#include "checkpoint.h"
#include "file.h"
#include "rng.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-ckpt-XXXXXX";
static unsigned damages;

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static const char *in(const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 512, "%s/%s", folder, name);
    return out;
}

static char weights[3000], moments[5000];

static dart_status save(const char *root, uint64_t step, uint32_t keep)
{
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (char)(i * 7 + step);
    for (size_t i = 0; i < sizeof moments; i++) moments[i] = (char)(i * 13 + step);
    char state[] = "{\"step\":1}", empty[] = "";
    dart_checkpoint_file file[] = {{"model.safetensors", weights, sizeof weights},
        {"optimizer.safetensors", moments, sizeof moments}, {"trainer_state.json", state, 10},
        {"empty", empty, 0}};
    return dart_checkpoint_write(root, step, file, 4, keep, DART_CHECKPOINT_NONE, (dart_note){0});
}

static unsigned entries(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void note(void *user, const char *line)
{
    (void)line;
    (*(unsigned *)user)++;
}

static void test_round_trip_and_prune(void **state)
{
    (void)state;
    const char *root = in("a");
    dart_checkpoint c;
    assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_INPUT);
    for (uint64_t step = 10; step <= 50; step += 10) assert_int_equal(save(root, step, 0), DART_OK);
    assert_int_equal(entries(root), 2); /* never below two */
    assert_int_equal(save(root, 60, 3), DART_OK);
    assert_int_equal(entries(root), 3);
    assert_int_equal(save(root, 60, 3), DART_OK); /* the same step again */
    assert_int_equal(entries(root), 3);
    unsigned notes = 0;
    assert_int_equal(
        dart_checkpoint_newest(root, (dart_note){note, &notes}, NULL, NULL, &c), DART_OK);
    assert_int_equal(notes, 0);
    assert_int_equal(c.step, 60);
    assert_int_equal(c.files, 4);
    const dart_checkpoint_file *f = dart_checkpoint_find(&c, "optimizer.safetensors");
    assert_non_null(f);
    assert_int_equal(f->size, sizeof moments);
    assert_memory_equal(f->data, moments, sizeof moments);
    assert_int_equal(dart_checkpoint_find(&c, "empty")->size, 0);
    assert_null(dart_checkpoint_find(&c, "other"));
    dart_checkpoint_close(&c);

    /* Leftovers of an interrupted save are never chosen, and the next save removes them. */
    char left[600];
    snprintf(left, sizeof left, "%s/step-00000099.tmp.1", root);
    assert_int_equal(dart_mkdirs(left), DART_OK);
    snprintf(left, sizeof left, "%s/step-00000099.tmp.1/model.safetensors", root);
    assert_int_equal(dart_file_write_sync(left, "x", 1), DART_OK);
    assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 60);
    dart_checkpoint_close(&c);
    assert_int_equal(save(root, 70, 2), DART_OK);
    assert_int_equal(entries(root), 2);
}

/* The best step stays, however old it is, beside the newest ones. */
static void test_spared(void **state)
{
    (void)state;
    const char *root = in("spared");
    const dart_checkpoint_file file = {"model", "abc", 3};
    dart_checkpoint c;
    for (uint64_t step = 1; step <= 9; step++)
        assert_int_equal(
            dart_checkpoint_write(root, step, &file, 1, 2, 3, (dart_note){0}), DART_OK);
    assert_int_equal(entries(root), 3);
    assert_int_equal(dart_checkpoint_at(root, 3, &c), DART_OK);
    assert_int_equal(c.step, 3);
    dart_checkpoint_close(&c);
    assert_int_equal(dart_checkpoint_at(root, 7, &c), DART_INPUT);
    /* another is the best now */
    assert_int_equal(dart_checkpoint_write(root, 10, &file, 1, 2, 9, (dart_note){0}), DART_OK);
    assert_int_equal(entries(root), 2);
}

/* Writes `size` bytes as `file` of step 2 and expects the fall-back to step 1, told once. */
static void expect_fallback(const char *root, const char *path, const char *data, size_t size)
{
    FILE *f = fopen(path, "wb"); /* not synced: thousands of these */
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    dart_checkpoint c;
    unsigned notes = 0;
    assert_int_equal(
        dart_checkpoint_newest(root, (dart_note){note, &notes}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 1);
    assert_int_equal(notes, 1);
    assert_true(strstr(dart_error_text(), "damaged") != NULL);
    dart_checkpoint_close(&c);
    damages++;
}

static void damage_file(const char *root, const char *name, bool every_bit, unsigned random)
{
    char path[600], *good, *bad;
    size_t size;
    snprintf(path, sizeof path, "%s/step-00000002/%s", root, name);
    assert_int_equal(dart_file_read(path, &good, &size), DART_OK);
    for (size_t n = 0; n < size; n++) expect_fallback(root, path, good, n);
    bad = malloc(size + 1);
    memcpy(bad, good, size);
    bad[size] = '\n';
    expect_fallback(root, path, bad, size + 1);
    for (size_t bit = 0; every_bit && bit < 8 * size; bit++) {
        bad[bit / 8] ^= (char)(1 << bit % 8);
        expect_fallback(root, path, bad, size);
        bad[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (unsigned i = 0; i < random; i++) {
        uint32_t word[4];
        dart_philox(11, DART_STREAM_TEST, i, word);
        size_t bit = word[0] % (8 * size);
        bad[bit / 8] ^= (char)(1 << bit % 8);
        expect_fallback(root, path, bad, size);
        bad[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_int_equal(unlink(path), 0);
    dart_checkpoint c;
    assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 1);
    dart_checkpoint_close(&c);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(good, 1, size, f), size);
    fclose(f);
    assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 2);
    dart_checkpoint_close(&c);
    free(good);
    free(bad);
}

static void test_damage(void **state)
{
    (void)state;
    const char *root = in("b");
    assert_int_equal(save(root, 1, 2), DART_OK);
    assert_int_equal(save(root, 2, 2), DART_OK);
    damage_file(root, "manifest.json", true, 0);
    damage_file(root, "trainer_state.json", true, 0);
    damage_file(root, "model.safetensors", false, 1000);
    damage_file(root, "optimizer.safetensors", false, 1000);
    printf("%u damaged checkpoints detected\n", damages);
    assert_true(damages >= 10000);
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

/* Damaged ones neither count nor push a sound one out; the same step with other bytes replaces what
 * is there, as the step of another run does. */
static void test_prune_counts_sound_ones(void **state)
{
    (void)state;
    const char *root = in("e");
    char path[600];
    dart_checkpoint c;
    for (uint64_t step = 1; step <= 2; step++) assert_int_equal(save(root, step, 2), DART_OK);
    snprintf(path, sizeof path, "%s/step-00000002/model.safetensors", root);
    flip(path, 100);
    assert_int_equal(save(root, 3, 2), DART_OK);
    assert_int_equal(entries(root), 3);
    snprintf(path, sizeof path, "%s/step-00000003/model.safetensors", root);
    flip(path, 100);
    unsigned notes = 0;
    assert_int_equal(
        dart_checkpoint_newest(root, (dart_note){note, &notes}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 1);
    assert_int_equal(notes, 2);
    dart_checkpoint_close(&c);
    assert_int_equal(save(root, 4, 2), DART_OK);
    assert_int_equal(save(root, 5, 2), DART_OK);
    assert_int_equal(entries(root), 2); /* 4 and 5; the damaged ones went with step 1 */

    char state_of[] = "another run's", old[] = "old";
    const dart_checkpoint_file other = {"trainer_state.json", state_of, sizeof state_of - 1};
    const dart_checkpoint_file before = {"trainer_state.json", old, sizeof old - 1};
    root = in("f");
    assert_int_equal(
        dart_checkpoint_write(root, 30, &before, 1, 2, DART_CHECKPOINT_NONE, (dart_note){0}),
        DART_OK);
    assert_int_equal(
        dart_checkpoint_write(root, 30, &other, 1, 2, DART_CHECKPOINT_NONE, (dart_note){0}),
        DART_OK);
    assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_OK);
    assert_string_equal(c.file[0].data, state_of);
    dart_checkpoint_close(&c);
}

/* A step counts once it is whole; what an interrupted or failed save leaves behind is none. */
static void test_exists(void **state)
{
    (void)state;
    const char *root = in("g");
    bool there = true;
    assert_int_equal(dart_checkpoint_exists(root, &there), DART_OK);
    assert_false(there);
    char left[600];
    snprintf(left, sizeof left, "%s/step-00000010.tmp.7", root);
    assert_int_equal(dart_mkdirs(left), DART_OK);
    assert_int_equal(dart_checkpoint_exists(root, &there), DART_OK);
    assert_false(there);
    assert_int_equal(save(root, 10, 2), DART_OK);
    assert_int_equal(dart_checkpoint_exists(root, &there), DART_OK);
    assert_true(there);
}

/* A file-size limit makes writes fail the way a full disk does; the save must leave everything as
 * it was. */
static void test_disk_full(void **state)
{
    (void)state;
    const char *root = in("c");
    assert_int_equal(save(root, 1, 2), DART_OK);
    assert_int_equal(save(root, 2, 2), DART_OK);
    unsigned failures = 0;
    for (rlim_t limit = 0; limit < 5000; limit += 499) {
        const struct rlimit before = full_disk(limit);
        dart_status status = save(root, 3, 2);
        room_again(before);
        assert_int_equal(status, DART_IO);
        assert_non_null(strstr(dart_error_text(), "disk is full"));
        assert_int_equal(entries(root), 2);
        dart_checkpoint c;
        assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_OK);
        assert_int_equal(c.step, 2);
        dart_checkpoint_close(&c);
        failures++;
    }
    assert_true(failures >= 10);
    assert_int_equal(save(root, 3, 2), DART_OK);
}

/* SIGKILL at random times of a process that saves without end: what is there always loads. */
static void test_kill(void **state)
{
    (void)state;
    const char *root = in("d");
    assert_int_equal(save(root, 1, 2), DART_OK);
    uint64_t last = 1;
    for (unsigned round = 0; round < 25; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (uint64_t step = last + 1;; step++)
                if (save(root, step, 2) != DART_OK) _exit(1);
        }
        uint32_t word[4];
        dart_philox(5, DART_STREAM_TEST, round, word);
        usleep(2000 + word[0] % 20000);
        kill(child, SIGKILL);
        int result;
        waitpid(child, &result, 0);
        assert_true(WIFSIGNALED(result));
        dart_checkpoint c;
        assert_int_equal(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c), DART_OK);
        assert_true(c.step >= last);
        last = c.step;
        dart_checkpoint_close(&c);
    }
    printf("killed 25 times, %llu checkpoints written\n", (unsigned long long)last);
    assert_int_equal(save(root, last + 1, 2), DART_OK);
    assert_int_equal(entries(root), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip_and_prune),
        cmocka_unit_test(test_spared), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_prune_counts_sound_ones), cmocka_unit_test(test_exists),
        cmocka_unit_test(test_disk_full), cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
