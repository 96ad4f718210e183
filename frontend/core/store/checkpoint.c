/* The checkpoint protocol. A step is written to step-<n>.tmp.<pid>/: each file is created and
 * synced, manifest.json (sizes, XXH3-128, a checksum of itself) last; then the directory is synced,
 * read back, renamed to step-<n>/ and its parent synced; only then are old ones pruned. Whatever
 * happens in between, the newest directory whose manifest and files verify is a complete
 * checkpoint. */
#include "checkpoint.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT = 1, PATH = 4096 };

/* "<root>/<name>" or a sentence that the path is too long. */
static dart_status join(char out[PATH], const char *root, const char *name)
{
    if (snprintf(out, PATH, "%s/%s", root, name) >= PATH)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", root);
    return DART_OK;
}

/* ---- manifest ---- */

/* The canonical text of `body`, taken over, with its own checksum as the last entry. */
static dart_status manifest_text(json_t *body, dart_status status, const char *what, char **out)
{
    char *plain;
    dart_status written = dart_json_write(
        json_incref(body), status, JSON_COMPACT | JSON_PRESERVE_ORDER, what, &plain);
    if (written != DART_OK) {
        json_decref(body);
        return written;
    }
    dart_json_set(body, "self", json_string(dart_hash_bytes(plain, strlen(plain)).text), &status);
    free(plain);
    return dart_json_write(body, status, JSON_COMPACT | JSON_PRESERVE_ORDER, what, out);
}

static dart_status write_manifest(
    const char *path, uint64_t step, const dart_checkpoint_file *file, uint32_t files)
{
    dart_status status = DART_OK;
    char *text;
    json_t *body = json_object(), *list = json_array();
    dart_json_set(body, "format", json_integer(FORMAT), &status);
    dart_json_set(body, "step", json_integer((json_int_t)step), &status);
    for (uint32_t i = 0; i < files; i++)
        dart_json_add(list,
            json_pack("{s:s, s:I, s:s}", "name", file[i].name, "bytes", (json_int_t)file[i].size,
                "xxh3", dart_hash_bytes(file[i].data, file[i].size).text),
            &status);
    dart_json_set(body, "files", list, &status);
    DART_TRY(manifest_text(body, status, path, &text));
    status = dart_file_write_sync(path, text, strlen(text));
    free(text);
    return status;
}

/* Parses a manifest that is byte for byte what manifest_text makes; *out NULL: it is not. */
static dart_status read_manifest(const char *text, size_t size, const char *path, json_t **out)
{
    char why[DART_JSON_WHY], *again;
    dart_status status = dart_json_parse(text, size, path, why, out);
    if (status == DART_INPUT) return DART_OK;
    if (status != DART_OK) return status;
    if (json_is_object(*out)) {
        json_object_del(*out, "self");
        status = manifest_text(json_incref(*out), DART_OK, path, &again);
        bool same = status == DART_OK && strlen(again) == size && !memcmp(again, text, size);
        if (status == DART_OK) free(again);
        if (same) return DART_OK;
    }
    json_decref(*out);
    *out = NULL;
    return status;
}

/* ---- writing ---- */

static bool parse_step(const char *name, uint64_t *step, bool *scratch)
{
    char *end;
    if (strncmp(name, "step-", 5) || name[5] < '0' || name[5] > '9') return false;
    *step = strtoull(name + 5, &end, 10);
    *scratch = !strncmp(end, ".tmp.", 5);
    return *scratch || !*end;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Steps that have a directory, newest first; with `clean` leftovers of interrupted saves are
 * removed. */
static dart_status list_steps(const char *root, bool clean, uint64_t **out, size_t *out_count)
{
    dart_status status = DART_OK;
    size_t capacity = 0, count = 0;
    uint64_t *steps = NULL;
    *out = NULL;
    *out_count = 0;
    DIR *folder;
    do folder = opendir(root);
    while (!folder && errno == EINTR);
    if (!folder) {
        if (errno == ENOENT || errno == ENOTDIR)
            return dart_fail(DART_INPUT, "there are no checkpoints in %s", root);
        return dart_fail(dart_errno_code(errno), "cannot list %s: %s", root, strerror(errno));
    }
    for (struct dirent *entry; errno = 0, (entry = readdir(folder)) || errno == EINTR;) {
        if (!entry) continue;
        uint64_t step;
        bool scratch;
        char path[PATH];
        if (!parse_step(entry->d_name, &step, &scratch)) continue;
        if (scratch) {
            if (!clean) continue;
            DART_GOTO(join(path, root, entry->d_name));
            DART_GOTO(dart_remove_tree(path));
            continue;
        }
        DART_GOTO(dart_grow((void **)&steps, &capacity, count + 1, sizeof *steps));
        steps[count++] = step;
    }
    if (errno) {
        status = dart_fail(dart_errno_code(errno), "cannot list %s: %s", root, strerror(errno));
        goto done;
    }
    if (count) qsort(steps, count, sizeof *steps, newest_first);
    *out = steps;
    *out_count = count;
    steps = NULL;
done:
    free(steps);
    closedir(folder);
    return status;
}

static dart_status step_path(char out[PATH], const char *root, uint64_t step)
{
    char name[32];
    snprintf(name, sizeof name, "step-%08" PRIu64, step);
    return join(out, root, name);
}

/* Keeps the newest `keep` sound ones, `spared`, and step 0, which is written only where it is asked
 * for; `written` was just read back. Damaged ones do
 * not count, and go with what is older than those. */
static dart_status prune(const char *root, uint64_t written, uint32_t keep, uint64_t spared)
{
    uint64_t *steps;
    size_t count;
    uint32_t sound = 0;
    dart_status status = DART_OK;
    DART_TRY(list_steps(root, false, &steps, &count));
    if (keep < 2) keep = 2;
    for (size_t i = 0; i < count && count > keep; i++) {
        char path[PATH];
        dart_checkpoint old;
        DART_GOTO(step_path(path, root, steps[i]));
        if (sound == keep && (steps[i] == spared || steps[i] == 0)) continue;
        if (sound == keep) {
            DART_GOTO(dart_remove_tree(path));
        } else if (steps[i] == written) {
            sound++;
        } else if (dart_checkpoint_open(path, &old) == DART_OK) {
            sound++;
            dart_checkpoint_close(&old);
        }
    }
done:
    free(steps);
    return status;
}

/* Whether the checkpoint at `path` is sound and holds just these files. */
static dart_status holds(
    const char *path, const dart_checkpoint_file *file, uint32_t files, bool *out)
{
    dart_checkpoint there;
    *out = false;
    dart_status status = dart_checkpoint_open(path, &there);
    if (status == DART_INPUT) return DART_OK;
    if (status != DART_OK) return status;
    *out = there.files == files;
    for (uint32_t i = 0; i < files && *out; i++)
        *out = !strcmp(there.file[i].name, file[i].name) && there.file[i].size == file[i].size &&
               (!file[i].size || !memcmp(there.file[i].data, file[i].data, file[i].size));
    dart_checkpoint_close(&there);
    return DART_OK;
}

/* All files of a step, synced and read back. */
static dart_status write_files(
    const char *scratch, uint64_t step, const dart_checkpoint_file *file, uint32_t files)
{
    char path[PATH];
    bool same;
    DART_TRY(dart_mkdirs(scratch));
    for (uint32_t i = 0; i < files; i++) {
        DART_TRY(join(path, scratch, file[i].name));
        DART_TRY(dart_file_write_sync(path, file[i].data, file[i].size));
    }
    DART_TRY(join(path, scratch, "manifest.json"));
    DART_TRY(write_manifest(path, step, file, files));
    DART_TRY(dart_dir_sync(scratch));
    DART_TRY(holds(scratch, file, files, &same));
    if (same) return DART_OK;
    return dart_fail(DART_IO, "%s does not read back as it was written; check the disk", scratch);
}

dart_status dart_checkpoint_write(const char *root, uint64_t step, const dart_checkpoint_file *file,
    uint32_t files, uint32_t keep, uint64_t spared, dart_note note)
{
    dart_status status = DART_OK;
    char scratch[PATH], final[PATH], name[64];
    uint64_t *steps = NULL;
    size_t count;
    bool made = false, same = false;
    DART_TRY(dart_mkdirs(root));
    DART_TRY(list_steps(root, true, &steps, &count));
    free(steps);
    DART_TRY(step_path(final, root, step));
    const bool there = dart_file_exists(final);
    if (there) DART_TRY(holds(final, file, files, &same));
    if (same) return DART_OK;
    snprintf(name, sizeof name, "step-%08" PRIu64 ".tmp.%ld", step, (long)getpid());
    DART_GOTO(join(scratch, root, name));
    made = true;
    DART_GOTO(write_files(scratch, step, file, files));
    /* A damaged one, or that of another run. */
    if (there) DART_GOTO(dart_remove_tree(final));
    if (TEMP_FAILURE_RETRY(rename(scratch, final))) {
        status = dart_fail(DART_IO, "cannot rename %s to %s: %s", scratch, final, strerror(errno));
        goto done;
    }
    made = false;
    DART_GOTO(dart_dir_sync(root));
    dart_status pruned = prune(root, step, keep, spared);
    if (pruned == DART_MEMORY) DART_GOTO(pruned);
    if (pruned != DART_OK)
        dart_note_line(note, "older checkpoints are left there: %s", dart_error_text());
done:
    if (made) {
        char sentence[1024];
        snprintf(sentence, sizeof sentence, "%s", dart_error_text());
        if (dart_remove_tree(scratch) != DART_OK) dart_fail(status, "%s", sentence);
    }
    return status;
}

/* ---- reading ---- */

static dart_status damaged(const char *path, const char *what)
{
    return dart_fail(DART_INPUT, "the checkpoint %s is damaged: %s", path, what);
}

static dart_status open_file(const char *path, json_t *entry, dart_checkpoint_file *out)
{
    char where[PATH], what[160];
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *hash = json_string_value(json_object_get(entry, "xxh3"));
    json_t *bytes = json_object_get(entry, "bytes");
    if (!name || !hash || !json_is_integer(bytes) || strlen(name) >= sizeof out->name ||
        strchr(name, '/'))
        return damaged(path, "its manifest.json has an entry that is none of ours");
    snprintf(out->name, sizeof out->name, "%s", name);
    DART_TRY(join(where, path, name));
    dart_status status = dart_file_read(where, &out->data, &out->size);
    if (status == DART_INPUT) {
        snprintf(what, sizeof what, "%s is missing", name);
        return damaged(path, what);
    }
    if (status != DART_OK) return status;
    if (out->size != (uint64_t)json_integer_value(bytes)) {
        snprintf(what, sizeof what, "%s has %zu bytes instead of %" JSON_INTEGER_FORMAT, name,
            out->size, json_integer_value(bytes));
        return damaged(path, what);
    }
    if (strcmp(dart_hash_bytes(out->data, out->size).text, hash)) {
        snprintf(
            what, sizeof what, "the bytes of %s do not have the checksum that was written", name);
        return damaged(path, what);
    }
    return DART_OK;
}

dart_status dart_checkpoint_open(const char *path, dart_checkpoint *out)
{
    dart_status status = DART_OK;
    char where[PATH], *text = NULL;
    size_t size;
    json_t *body = NULL;
    *out = (dart_checkpoint){0};
    DART_TRY(join(where, path, "manifest.json"));
    status = dart_file_read(where, &text, &size);
    if (status == DART_INPUT)
        return dart_fail(DART_INPUT, "%s is not a checkpoint: it has no manifest.json", path);
    if (status != DART_OK) return status;
    DART_GOTO(read_manifest(text, size, where, &body));
    if (!body) {
        status = damaged(path, "its manifest.json fails its own checksum");
        goto done;
    }
    json_t *list = json_object_get(body, "files");
    if (json_integer_value(json_object_get(body, "format")) != FORMAT || !json_is_array(list) ||
        json_array_size(list) > DART_CHECKPOINT_FILES) {
        status = dart_fail(
            DART_INPUT, "the checkpoint %s has a format that this program does not know", path);
        goto done;
    }
    out->step = (uint64_t)json_integer_value(json_object_get(body, "step"));
    snprintf(out->path, sizeof out->path, "%s", path);
    for (size_t i = 0; i < json_array_size(list); i++) {
        out->files++;
        DART_GOTO(open_file(path, json_array_get(list, i), &out->file[i]));
    }
done:
    free(text);
    json_decref(body);
    if (status != DART_OK) dart_checkpoint_close(out);
    return status;
}

dart_status dart_checkpoint_at(const char *root, uint64_t step, dart_checkpoint *out)
{
    char path[PATH];
    *out = (dart_checkpoint){0};
    DART_TRY(step_path(path, root, step));
    return dart_checkpoint_open(path, out);
}

dart_status dart_checkpoint_exists(const char *root, bool *out)
{
    uint64_t *steps;
    size_t count;
    *out = false;
    if (!dart_file_exists(root)) return DART_OK;
    DART_TRY(list_steps(root, false, &steps, &count));
    free(steps);
    *out = count > 0;
    return DART_OK;
}

dart_status dart_checkpoint_newest(
    const char *root, dart_note note, dart_checkpoint_load load, void *user, dart_checkpoint *out)
{
    dart_status status = DART_OK;
    uint64_t *steps;
    size_t count;
    char first[600] = "";
    *out = (dart_checkpoint){0};
    DART_TRY(list_steps(root, false, &steps, &count));
    for (size_t i = 0; i < count; i++) {
        char path[PATH], why[600];
        DART_GOTO(step_path(path, root, steps[i]));
        status = dart_checkpoint_open(path, out);
        if (status == DART_OK && load) status = load(user, out);
        if (status != DART_INPUT) break;
        snprintf(why, sizeof why, "%s", dart_error_text());
        if (!i) snprintf(first, sizeof first, "%s", why);
        dart_checkpoint_close(out);
        if (i + 1 < count) dart_note_line(note, "%s; trying the one before it", why);
    }
    if (!count)
        status = dart_fail(DART_INPUT, "there are no checkpoints in %s", root);
    else if (status == DART_INPUT)
        status =
            dart_fail(DART_INPUT, "none of the %zu checkpoint%s in %s can be used; the newest: %s",
                count, count == 1 ? "" : "s", root, first);
done:
    free(steps);
    if (status != DART_OK) dart_checkpoint_close(out);
    return status;
}

void dart_checkpoint_close(dart_checkpoint *checkpoint)
{
    for (uint32_t i = 0; i < checkpoint->files; i++) free(checkpoint->file[i].data);
    *checkpoint = (dart_checkpoint){0};
}

const dart_checkpoint_file *dart_checkpoint_find(
    const dart_checkpoint *checkpoint, const char *name)
{
    for (uint32_t i = 0; i < checkpoint->files; i++)
        if (!strcmp(checkpoint->file[i].name, name)) return &checkpoint->file[i];
    return NULL;
}
