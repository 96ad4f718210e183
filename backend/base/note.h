/* Lines of news for whoever wants to hear them: the log callback of rooms that must not know who
 * listens. */
#ifndef DART_NOTE_H
#define DART_NOTE_H

typedef struct dart_note {
    void (*line)(void *user, const char *line); /* NULL: nobody listens */
    void *user;
} dart_note;

/* One line, cut at 1,299 bytes. */
void dart_note_line(dart_note note, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
