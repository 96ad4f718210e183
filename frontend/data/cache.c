/* Token files. One page of header, then the ids of each split as 32-bit words from a page boundary
 * on, then the vocabulary. In the writer's byte order: a file from a machine of the other order is
 * made anew. Every part carries its XXH3-128. */
#include "cache.h"
#include "file.h"
#include "filestream.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PAGE = 4096, BLOCK = 1 << 20, VERSION = 1, ORDER = 0x01020304 };
static const char MAGIC[8] = "DARTTOK";

typedef struct header {
    char magic[8];
    uint32_t order, version;
    uint64_t size; /* of the file */
    dart_tokens_key key;
    uint64_t at[DART_SPLITS], count[DART_SPLITS];
    char hash[DART_SPLITS][33];
    uint64_t vocab_at, vocab_bytes;
    uint32_t level, punctuation, entries;
    char vocab_hash[33], own_hash[33]; /* own: of everything before it */
} header;
_Static_assert(sizeof(header) <= PAGE, "the header has one page");

static void hash_text(XXH128_hash_t value, char out[33])
{
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)value.high64, (uint64_t)value.low64);
}

static void hash_bytes(const void *data, size_t size, char out[33])
{
    hash_text(XXH3_128bits(data, size), out);
}

static void hash_header(const header *h, char out[33])
{
    hash_bytes(h, offsetof(header, own_hash), out);
}

/* ---- reading ---- */

static dart_status read_at(int fd, const char *path, uint64_t at, void *out, size_t size)
{
    for (size_t used = 0; used < size;) {
        ssize_t got = pread(fd, (char *)out + used, size - used, (off_t)(at + used));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return dart_fail(DART_IO, "cannot read %s: %s", path,
                got < 0 ? strerror(errno) : "it is shorter than it was");
        used += (size_t)got;
    }
    return DART_OK;
}

/* Hash of `size` bytes from `at` on, without holding more than a block, and the largest of the
 * 32-bit words among them (out_most may be NULL). */
static dart_status hash_range(
    int fd, const char *path, uint64_t at, uint64_t size, char out[33], uint32_t *out_most)
{
    dart_status status = DART_OK;
    uint32_t *block = malloc(BLOCK), most = 0;
    XXH3_state_t *state = XXH3_createState();
    if (!block || !state) {
        status = dart_fail(DART_MEMORY, "out of memory: reading %s", path);
        goto done;
    }
    XXH3_128bits_reset(state);
    while (size) {
        size_t part = size < BLOCK ? (size_t)size : BLOCK;
        DART_GOTO(read_at(fd, path, at, block, part));
        XXH3_128bits_update(state, block, part);
        for (size_t i = 0; i < part / sizeof *block; i++)
            if (block[i] > most) most = block[i];
        at += part;
        size -= part;
    }
    hash_text(XXH3_128bits_digest(state), out);
    if (out_most) *out_most = most;
done:
    XXH3_freeState(state);
    free(block);
    return status;
}

dart_status dart_tokens_sources(const dart_splits *splits, char out[33])
{
    dart_status status = DART_OK;
    char all[DART_SPLITS][33] = {{0}};
    for (int i = 0; i < DART_SPLITS; i++) {
        const char *path = splits->text[i].what;
        if (i && path == splits->text[0].what) continue; /* parts of one file */
        struct stat info;
        int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC));
        if (fd < 0 || fstat(fd, &info))
            status = dart_fail(DART_IO, "cannot read %s: %s", path, strerror(errno));
        else
            status = hash_range(fd, path, 0, (uint64_t)info.st_size, all[i], NULL);
        if (fd >= 0) close(fd);
        DART_TRY(status);
    }
    hash_bytes(all, sizeof all, out);
    return DART_OK;
}

dart_status dart_tokens_name(const dart_splits *splits, uint32_t limit, const dart_vocab *vocab,
    dart_tokens_key *out, char out_path[PATH_MAX])
{
    char folder[PATH_MAX - 160], number[96];
    XXH3_state_t *state = XXH3_createState();
    if (!state) return dart_fail(DART_MEMORY, "out of memory: the name of a token file");
    XXH3_128bits_reset(state);
    snprintf(number, sizeof number, "%d %d %u %d", (int)splits->level, splits->punctuation,
        vocab ? vocab->size : limit, vocab != NULL);
    XXH3_128bits_update(state, number, strlen(number) + 1);
    for (int i = 0; i < DART_SPLITS; i++) {
        const dart_text *text = &splits->text[i];
        XXH3_128bits_update(state, text->what, strlen(text->what) + 1);
        snprintf(number, sizeof number, "%" PRIu64 " %" PRIu64 " %d", text->begin, text->size,
            text->underscore);
        XXH3_128bits_update(state, number, strlen(number) + 1);
    }
    for (uint32_t i = 0; vocab && i < vocab->size; i++)
        if (vocab->text[i]) XXH3_128bits_update(state, vocab->text[i], strlen(vocab->text[i]) + 1);
    hash_text(XXH3_128bits_digest(state), out->settings);
    XXH3_freeState(state);
    DART_TRY(dart_cache_dir(folder, sizeof folder));
    snprintf(
        out_path, PATH_MAX, "%s/tokens/%.63s-%.16s.tokens", folder, splits->name, out->settings);
    return DART_OK;
}

/* Whether all parts lie within the file, where they should. */
static bool header_fits(const header *h)
{
    uint64_t end = PAGE;
    for (int i = 0; i < DART_SPLITS; i++) {
        if (h->at[i] != end || h->count[i] > h->size / sizeof(int32_t)) return false;
        end = dart_round_up(end + h->count[i] * sizeof(int32_t), PAGE);
    }
    return h->vocab_at == end && end <= h->size && h->vocab_bytes == h->size - end &&
           h->entries <= h->vocab_bytes;
}

/* Why the header cannot be used; NULL if it can. */
static const char *header_fault(const header *h, const dart_tokens_key *key, uint64_t size)
{
    char own[33];
    if (memcmp(h->magic, MAGIC, sizeof MAGIC)) return "it is not a token file";
    if (h->order == __builtin_bswap32(ORDER)) return "it has the other byte order";
    if (h->order != ORDER || h->version != VERSION) return "it is of another version";
    hash_header(h, own);
    if (strncmp(own, h->own_hash, sizeof own)) return "its header is damaged";
    if (h->size != size) return "it is truncated";
    if (!header_fits(h)) return "its header is damaged";
    if (strncmp(h->key.settings, key->settings, 33)) return "it is of other settings";
    if (strncmp(h->key.sources, key->sources, 33)) return "the text has changed";
    return NULL;
}

/* The vocabulary as written by write_vocab. */
static dart_status load_vocab(const char *body, const header *h, const char *path, dart_vocab *out)
{
    dart_status status = DART_OK;
    const char *at = body, *end = body + h->vocab_bytes;
    const char **text = dart_calloc(h->entries, sizeof *text);
    uint64_t *count = dart_calloc(h->entries, sizeof *count);
    if (!text || !count) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < h->entries; i++) {
        const char *zero;
        if (end - at < 9 || !(zero = memchr(at + 8, 0, (size_t)(end - at) - 8))) {
            status = dart_fail(DART_INPUT, "%s: its vocabulary is damaged; remove the file", path);
            goto done;
        }
        memcpy(&count[i], at, sizeof *count);
        text[i] = at + 8;
        at = zero + 1;
    }
    DART_GOTO(dart_vocab_from((dart_level)h->level, h->punctuation, h->entries, text, out));
    memcpy(out->count, count, h->entries * sizeof *count);
done:
    free(text);
    free(count);
    return status;
}

/* The rest of the file against its hashes; *out_vocab is malloc'ed. */
static dart_status check_body(
    int fd, const char *path, const header *h, char **out_vocab, char why[128])
{
    char hash[33];
    *out_vocab = NULL;
    for (int i = 0; i < DART_SPLITS; i++) {
        uint32_t most;
        DART_TRY(hash_range(fd, path, h->at[i], h->count[i] * sizeof(int32_t), hash, &most));
        const bool same = !strcmp(hash, h->hash[i]);
        /* Nothing behind this looks at an id again before it is a place in memory. */
        if (same && (!h->count[i] || most < h->entries)) continue;
        snprintf(
            why, 128, same ? "it has tokens outside its vocabulary" : "its tokens are damaged");
        return DART_OK;
    }
    *out_vocab = dart_calloc(1, (size_t)h->vocab_bytes + 1);
    if (!*out_vocab) return DART_MEMORY;
    dart_status status = read_at(fd, path, h->vocab_at, *out_vocab, (size_t)h->vocab_bytes);
    if (status == DART_OK) {
        hash_bytes(*out_vocab, (size_t)h->vocab_bytes, hash);
        if (!strcmp(hash, h->vocab_hash)) return DART_OK;
        snprintf(why, 128, "its vocabulary is damaged");
    }
    free(*out_vocab);
    *out_vocab = NULL;
    return status;
}

dart_status dart_tokens_open(
    const char *path, const dart_tokens_key *key, dart_corpus *out, bool *out_found, char why[128])
{
    dart_status status = DART_OK;
    struct stat info;
    header h = {0};
    char *vocab = NULL;
    *out_found = false;
    why[0] = 0;
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0) return DART_OK;
    if (fstat(fd, &info) || info.st_size < PAGE) {
        snprintf(why, 128, "it is truncated");
        goto done;
    }
    DART_GOTO(read_at(fd, path, 0, &h, sizeof h));
    const char *fault = header_fault(&h, key, (uint64_t)info.st_size);
    if (fault) {
        snprintf(why, 128, "%s", fault);
        goto done;
    }
    DART_GOTO(check_body(fd, path, &h, &vocab, why));
    if (!vocab) goto done;
    DART_GOTO(load_vocab(vocab, &h, path, &out->vocab));
    out->map_bytes = (size_t)h.size;
    out->map = mmap(NULL, out->map_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (out->map == MAP_FAILED) {
        out->map = NULL;
        status = dart_fail(dart_errno_code(errno), "cannot map %s: %s", path, strerror(errno));
        goto done;
    }
    for (int i = 0; i < DART_SPLITS; i++) {
        out->tokens[i] = (const int32_t *)((const char *)out->map + h.at[i]);
        out->count[i] = h.count[i];
        memcpy(out->hash[i], h.hash[i], sizeof out->hash[i]);
    }
    *out_found = true;
done:
    free(vocab);
    close(fd);
    if (status != DART_OK) dart_vocab_free(&out->vocab);
    return status;
}

/* ---- writing ---- */

typedef struct writer {
    FILE *file;
    int fd; /* of `file` */
    const char *path;
    uint64_t at;
    XXH3_state_t *state;
} writer;

static dart_status put(writer *w, const void *data, size_t size)
{
    if (size && fwrite(data, 1, size, w->file) != size)
        return dart_fail(DART_IO,
            "cannot write %s: %s; free some space, or set XDG_CACHE_HOME to a folder with room",
            w->path, strerror(errno));
    XXH3_128bits_update(w->state, data, size);
    w->at += size;
    return DART_OK;
}

static dart_status put_ids(void *user, const int32_t *ids, size_t count)
{
    return put(user, ids, count * sizeof *ids);
}

static dart_status pad(writer *w)
{
    static const char zeros[PAGE];
    return put(w, zeros, (size_t)(dart_round_up(w->at, PAGE) - w->at));
}

/* Each entry: how often (8 bytes), its text, a zero byte. */
static dart_status write_vocab(writer *w, const dart_vocab *vocab)
{
    for (uint32_t i = 0; i < vocab->size; i++) {
        const char *text = vocab->text[i] ? vocab->text[i] : "";
        DART_TRY(put(w, &vocab->count[i], sizeof vocab->count[i]));
        DART_TRY(put(w, text, strlen(text) + 1));
    }
    return DART_OK;
}

static dart_status write_body(
    writer *w, const dart_splits *splits, const dart_vocab *vocab, header *h)
{
    static const char page[PAGE];
    const dart_sink sink = {put_ids, w};
    XXH3_128bits_reset(w->state);
    DART_TRY(put(w, page, PAGE));
    for (int i = 0; i < DART_SPLITS; i++) {
        h->at[i] = w->at;
        XXH3_128bits_reset(w->state);
        DART_TRY(dart_vocab_stream(vocab, &splits->text[i], &sink));
        h->count[i] = (w->at - h->at[i]) / sizeof(int32_t);
        hash_text(XXH3_128bits_digest(w->state), h->hash[i]);
        DART_TRY(pad(w));
    }
    h->vocab_at = w->at;
    XXH3_128bits_reset(w->state);
    DART_TRY(write_vocab(w, vocab));
    h->vocab_bytes = w->at - h->vocab_at;
    hash_text(XXH3_128bits_digest(w->state), h->vocab_hash);
    h->size = w->at;
    hash_header(h, h->own_hash);
    if (fseek(w->file, 0, SEEK_SET))
        return dart_fail(DART_IO, "cannot write %s: %s", w->path, strerror(errno));
    DART_TRY(put(w, h, sizeof *h));
    if (fflush(w->file) || TEMP_FAILURE_RETRY(fsync(w->fd)))
        return dart_fail(DART_IO,
            "cannot write %s: %s; free some space, or set XDG_CACHE_HOME to a folder with room",
            w->path, strerror(errno));
    return DART_OK;
}

/* Removes what a process that is no more left aside of `path`: such a file may be large. */
static void remove_left(const char *path)
{
    char pattern[PATH_MAX];
    glob_t found;
    if ((size_t)snprintf(pattern, sizeof pattern, "%s.tmp.*", path) >= sizeof pattern) return;
    if (glob(pattern, GLOB_NOSORT, NULL, &found)) return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        long process = strtol(strrchr(found.gl_pathv[i], '.') + 1, NULL, 10);
        if (process > 0 && kill((pid_t)process, 0) && errno == ESRCH) unlink(found.gl_pathv[i]);
    }
    globfree(&found);
}

dart_status dart_tokens_write(const char *path, const dart_tokens_key *key,
    const dart_splits *splits, const dart_vocab *vocab)
{
    dart_status status = DART_OK;
    char folder[PATH_MAX], aside[PATH_MAX];
    header h;
    writer w = {.path = aside};
    memset(&h, 0, sizeof h); /* padding too: it is hashed */
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    h.order = ORDER;
    h.version = VERSION;
    h.key = *key;
    h.level = (uint32_t)vocab->level;
    h.punctuation = vocab->punctuation;
    h.entries = vocab->size;
    if ((size_t)snprintf(aside, sizeof aside, "%s.tmp.%ld", path, (long)getpid()) >= sizeof aside)
        return dart_fail(DART_IO, "cannot write %s: the path is too long", path);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    DART_TRY(dart_mkdirs(folder));
    remove_left(path);
    w.state = XXH3_createState();
    w.file = dart_filestream_open(aside, "w", &w.fd);
    if (!w.state || !w.file) {
        status = w.state ? dart_fail(dart_errno_code(errno), "cannot write %s: %s", aside,
                               strerror(errno))
                         : dart_fail(DART_MEMORY, "out of memory: writing %s", aside);
        goto done;
    }
    DART_GOTO(write_body(&w, splits, vocab, &h));
    if (TEMP_FAILURE_RETRY(rename(aside, path))) {
        status = dart_fail(DART_IO, "cannot write %s: %s", path, strerror(errno));
        goto done;
    }
    status = dart_dir_sync(folder);
done:
    XXH3_freeState(w.state);
    if (w.file) fclose(w.file);
    if (status != DART_OK) unlink(aside);
    return status;
}
