/* Run directories. */
#include "folder.h"
#include "checkpoint.h"
#include "data.h"
#include "file.h"
#include "stages.h"
#include "method.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

dart_status dart_folder_path(char out[DART_RUN_PATH], const char *dir, const char *name)
{
    if (snprintf(out, DART_RUN_PATH, "%s/%s", dir, name) >= DART_RUN_PATH)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    return DART_OK;
}

/* The directory of the run: `out`, or a name made of data, method and seed that is not taken yet
 * (with resume: the last one that is). */
static dart_status choose_dir(const dart_settings *set, char out[DART_RUN_PATH], bool *out_made)
{
    char base[DART_RUN_PATH];
    if (set->out[0]) {
        if (snprintf(out, DART_RUN_PATH, "%s", set->out) >= DART_RUN_PATH - 64)
            return dart_fail(DART_INPUT, "the path in --out is too long");
        return DART_OK;
    }
    const char *data = set->text[0] ? set->text : set->dataset;
    const char *known = dart_dataset_name(data), *slash = strrchr(data, '/');
    snprintf(base, sizeof base, "runs/%.80s-%.40s-%" PRId64,
        known   ? known
        : slash ? slash + 1
                : data,
        set->linear->name, set->seed);
    snprintf(out, DART_RUN_PATH, "%s", base);
    if (!set->resume) DART_TRY(dart_mkdirs("runs"));
    for (unsigned n = 2;; n++) {
        char next[DART_RUN_PATH];
        /* Made at once: of two starts only one gets a name. */
        if (!set->resume && !TEMP_FAILURE_RETRY(mkdir(out, 0777))) {
            *out_made = true;
            return DART_OK;
        }
        if (!set->resume && errno != EEXIST)
            return dart_fail(
                dart_errno_code(errno), "cannot create the folder %s: %s", out, strerror(errno));
        if (set->resume && !dart_file_exists(out)) return DART_OK;
        snprintf(next, sizeof next, "%.490s-%u", base, n);
        if (set->resume && !dart_file_exists(next)) return DART_OK;
        snprintf(out, DART_RUN_PATH, "%s", next);
    }
}

/* The recipe of a resumed run is the stored one; what the user gives now may only change the run
 * section. */
static dart_status merge_stored(
    const dart_recipe *given, const char *path, bool force, dart_recipe **out)
{
    dart_status status = DART_OK;
    dart_recipe *stored = NULL;
    *out = NULL;
    DART_TRY(dart_recipe_new(&stored));
    DART_GOTO(dart_recipe_load(stored, path));
    DART_GOTO(dart_recipe_copy(stored, out));
    DART_GOTO(dart_recipe_overlay(*out, given));
    const char *key = dart_recipe_difference(stored, *out);
    if (key && !force)
        status = dart_fail(DART_INPUT,
            "cannot resume: %s is not what %s says; leave it as it was, or use --force", key, path);
done:
    dart_recipe_free(stored);
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}

/* Whether the folder has work of a run that would be lost: a checkpoint, or the table of a finished
 * run. What a run leaves that was stopped before its first checkpoint is nothing to go on from. */
static dart_status has_work(const char *dir, bool *out)
{
    static const char *const roots[] = {"checkpoints", "dense-twin/checkpoints"};
    char path[DART_RUN_PATH];
    DART_TRY(dart_folder_path(path, dir, "table.json"));
    *out = dart_file_exists(path);
    for (int i = 0; i < 2 && !*out; i++) {
        DART_TRY(dart_folder_path(path, dir, roots[i]));
        DART_TRY(dart_checkpoint_exists(path, out));
    }
    return DART_OK;
}

dart_status dart_folder_choose(const dart_recipe *given, dart_folder *out, dart_recipe **out_recipe)
{
    dart_status status = DART_OK;
    dart_settings set;
    char path[DART_RUN_PATH];
    *out = (dart_folder){0};
    *out_recipe = NULL;
    dart_recipe_settings(given, &set);
    DART_TRY(choose_dir(&set, out->dir, &out->made));
    if (dart_is_folder(out->dir)) DART_TRY(dart_lock_take(out->dir, &out->lock));
    DART_TRY(dart_folder_path(path, out->dir, "recipe.yaml"));
    if (set.resume) {
        if (!dart_file_exists(path))
            return dart_fail(DART_INPUT, "cannot resume: there is no run in %s", out->dir);
        out->resume = true;
        DART_TRY(merge_stored(given, path, set.force, out_recipe));
    } else {
        DART_TRY(has_work(out->dir, &out->aside));
        if (out->aside && !set.force)
            return dart_fail(DART_INPUT,
                "%s already holds a run; go on with --resume, start over with --force (the run is "
                "then moved to %s.bak-1), or choose another --out",
                out->dir, out->dir);
        DART_TRY(dart_recipe_copy(given, out_recipe));
    }
    DART_GOTO(dart_recipe_set(*out_recipe, "out", out->dir));
    DART_GOTO(dart_recipe_expand(*out_recipe));
done:
    if (status != DART_OK) {
        dart_recipe_free(*out_recipe);
        *out_recipe = NULL;
    }
    return status;
}

/* The first of <path>.bak-1, <path>.bak-2 ... that is not there. */
static dart_status free_name(const char *path, char out[DART_RUN_PATH])
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    for (unsigned i = 1;; i++) {
        if (snprintf(out, DART_RUN_PATH, "%.*s.bak-%u", (int)n, path, i) >= DART_RUN_PATH)
            return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
        if (!dart_file_exists(out)) return DART_OK;
    }
}

static dart_status move(const char *from, const char *to)
{
    if (!TEMP_FAILURE_RETRY(rename(from, to))) return DART_OK;
    return dart_fail(DART_IO, "cannot move %s to %s: %s", from, to, strerror(errno));
}

/* All that a run makes in its folder; other people's files stay. */
dart_status dart_folder_set_aside(const char *dir, dart_note note)
{
    static const char *const ours[] = {"checkpoints", "dense-twin", "metrics.jsonl", "timing.jsonl",
        "spectra.jsonl", "table.json", "recipe.yaml"};
    char aside[DART_RUN_PATH];
    DART_TRY(free_name(dir, aside));
    DART_TRY(dart_mkdirs(aside));
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        char from[DART_RUN_PATH], to[DART_RUN_PATH];
        DART_TRY(dart_folder_path(from, dir, ours[i]));
        DART_TRY(dart_folder_path(to, aside, ours[i]));
        if (dart_file_exists(from)) DART_TRY(move(from, to));
    }
    DART_TRY(dart_dir_sync(aside));
    dart_note_line(note, "the run that was in %s is now in %s", dir, aside);
    return DART_OK;
}

/* A recipe of the user's own at `path` keeps its text under another name. */
static dart_status keep_other_recipe(const char *path, const dart_recipe *recipe, dart_note note)
{
    char *ours, *theirs, aside[DART_RUN_PATH];
    size_t size;
    if (!dart_file_exists(path)) return DART_OK;
    DART_TRY(dart_file_read(path, &theirs, &size));
    dart_status status = dart_recipe_text(recipe, true, &ours);
    bool same = status == DART_OK && !strcmp(ours, theirs);
    free(theirs);
    if (status == DART_OK) free(ours);
    if (status != DART_OK || same) return status;
    DART_TRY(free_name(path, aside));
    DART_TRY(move(path, aside));
    dart_note_line(note, "%s is now %s; the run's recipe takes its place", path, aside);
    return DART_OK;
}

/* A folder that was not there when it was chosen: made and locked now. */
static dart_status make_folder(dart_folder *folder)
{
    bool work;
    DART_TRY(dart_mkdirs(folder->dir));
    if (folder->inside || folder->lock.fd) return DART_OK;
    DART_TRY(dart_lock_take(folder->dir, &folder->lock));
    DART_TRY(has_work(folder->dir, &work));
    return work && !folder->resume && !folder->aside
               ? dart_fail(DART_INPUT, "another run was made in %s meanwhile", folder->dir)
               : DART_OK;
}

void dart_folder_release(dart_folder *folder)
{
    dart_lock_drop(&folder->lock);
    if (folder->made) (void)rmdir(folder->dir); /* goes only if it is empty */
    folder->made = false;
}

dart_status dart_folder_prepare(dart_folder *folder, const dart_recipe *recipe, dart_note note)
{
    char path[DART_RUN_PATH];
    DART_TRY(make_folder(folder));
    if (!folder->resume) {
        /* A twin without a checkpoint is no work, but it would be taken for this run's. */
        DART_TRY(dart_folder_path(path, folder->dir, "dense-twin"));
        if (folder->aside || dart_file_exists(path))
            DART_TRY(dart_folder_set_aside(folder->dir, note));
    }
    DART_TRY(dart_folder_path(path, folder->dir, "recipe.yaml"));
    if (!folder->resume) DART_TRY(keep_other_recipe(path, recipe, note));
    return dart_recipe_save(recipe, path);
}
