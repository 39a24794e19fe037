/* The configuration file: one YAML mapping of names to values, read by libyaml's events.
 *
 * Source: YAML 1.1 (yaml_parser_parse). Nothing but scalars and, for peers, a list of scalars is
 * accepted: no anchors, no nested mappings, no second document. */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum {
    FILE_BYTES_MAX = 1024 * 1024,
    NAMES_MAX = 64 /* more than there are flags */
};

struct yaml_read {
    struct config *config;
    const char *path;
    struct err_note *note;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;

    struct yaml_name {
        const char *name;
        size_t line;
    } names[NAMES_MAX]; /* read so far */

    size_t name_count;
};

/* "path:line: ..." in front of what the note says. */
static enum err at_line(struct yaml_read *read, size_t line)
{
    return err_note_wrap(read->note, ERR_BAD_INPUT, "%s:%zu", read->path, line + 1);
}

static enum err refuse(struct yaml_read *read, const char *text)
{
    (void)err_note_set(read->note, ERR_BAD_INPUT, "%s", text);
    return at_line(read, read->event.start_mark.line);
}

static void drop_event(struct yaml_read *read)
{
    if (read->has_event) {
        yaml_event_delete(&read->event);
        read->has_event = false;
    }
}

static enum err next_event(struct yaml_read *read)
{
    drop_event(read);
    if (yaml_parser_parse(&read->parser, &read->event) == 0) {
        (void)err_note_set(read->note, ERR_BAD_INPUT, "not YAML: %s",
                           read->parser.problem == NULL ? "unreadable" : read->parser.problem);
        return at_line(read, read->parser.problem_mark.line);
    }
    read->has_event = true;
    return ERR_OK;
}

static struct bytes scalar_of(const yaml_event_t *event)
{
    return bytes_of(event->data.scalar.value, event->data.scalar.length);
}

/* A copy that lives as long as the config; NULL: too much text. */
static char *keep(struct yaml_read *read, struct bytes text)
{
    char *copy = arena_alloc(&read->config->texts, text.len + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.len);
        copy[text.len] = '\0';
    }
    return copy;
}

/* The items of a list, joined by commas. */
static enum err read_list(struct yaml_read *read, char **ret_text)
{
    struct buf joined;
    buf_init(&joined, FILE_BYTES_MAX);
    enum err err = next_event(read);
    while (err == ERR_OK && read->event.type == YAML_SCALAR_EVENT) {
        err = buf_printf(&joined, "%s%.*s", joined.len == 0 ? "" : ",",
                         BYTES_PRINT(scalar_of(&read->event)));
        if (err == ERR_OK) {
            err = next_event(read);
        }
    }
    if (err == ERR_OK && read->event.type != YAML_SEQUENCE_END_EVENT) {
        err = refuse(read, "a list holds plain values only");
    }
    if (err == ERR_OK) {
        *ret_text = keep(read, buf_bytes(&joined));
        err = *ret_text == NULL ? refuse(read, "the file is too long") : ERR_OK;
    }
    buf_done(&joined);
    return err;
}

static enum err read_value(struct yaml_read *read, const char *name, char **ret_text)
{
    enum err err = next_event(read);
    if (err != ERR_OK) {
        return err;
    }
    if (read->event.type == YAML_SEQUENCE_START_EVENT && strcmp(name, "peers") == 0) {
        return read_list(read, ret_text);
    }
    if (read->event.type != YAML_SCALAR_EVENT) {
        return refuse(read, "a value here is a plain one, neither a list nor a mapping");
    }
    *ret_text = keep(read, scalar_of(&read->event));
    return *ret_text == NULL ? refuse(read, "the file is too long") : ERR_OK;
}

/* Of two values one would win without a word. */
static enum err note_name(struct yaml_read *read, const char *name, size_t line)
{
    for (size_t i = 0; i < read->name_count; i++) {
        if (strcmp(read->names[i].name, name) == 0) {
            (void)err_note_set(read->note, ERR_BAD_INPUT,
                               "\"%s\" is given twice, first in line %zu", name,
                               read->names[i].line + 1);
            return at_line(read, line);
        }
    }
    CHECK(read->name_count < NAMES_MAX);
    read->names[read->name_count++] = (struct yaml_name){name, line};
    return ERR_OK;
}

/* The key is the current event. */
static enum err read_pair(struct yaml_read *read)
{
    size_t line = read->event.start_mark.line;
    if (read->event.type != YAML_SCALAR_EVENT) {
        return refuse(read, "a name is expected");
    }
    const char *name = keep(read, scalar_of(&read->event));
    if (name == NULL) {
        return refuse(read, "the file is too long");
    }
    if (strcmp(name, "config") == 0) {
        return refuse(read, "config: a configuration file names no other one");
    }
    struct config probe = *read->config;
    enum err err = flags_set(CONFIG_FLAGS, name, "0", &probe, read->note);
    if (err == ERR_NOT_FOUND) {
        return at_line(read, line); /* before its value is complained about */
    }
    char *text = NULL;
    err = note_name(read, name, line);
    if (err == ERR_OK) {
        err = read_value(read, name, &text);
    }
    if (err != ERR_OK) {
        return err;
    }
    err = flags_set(CONFIG_FLAGS, name, text, read->config, read->note);
    return err == ERR_OK ? err : at_line(read, line);
}

static enum err read_mapping(struct yaml_read *read)
{
    enum err err = next_event(read);
    while (err == ERR_OK && read->event.type != YAML_MAPPING_END_EVENT) {
        err = read_pair(read);
        if (err == ERR_OK) {
            err = next_event(read);
        }
    }
    return err;
}

static enum err read_stream(struct yaml_read *read)
{
    enum err err = next_event(read); /* the stream's start */
    if (err == ERR_OK) {
        err = next_event(read);
    }
    if (err != ERR_OK || read->event.type == YAML_STREAM_END_EVENT) {
        return err; /* an empty file says nothing, which is allowed */
    }
    err = next_event(read);
    if (err == ERR_OK && read->event.type != YAML_MAPPING_START_EVENT) {
        return refuse(read, "the file must be a mapping of names to values, as in \"http: "
                            "127.0.0.1:8500\"");
    }
    if (err == ERR_OK) {
        err = read_mapping(read);
    }
    if (err == ERR_OK) {
        err = next_event(read); /* the document's end */
    }
    if (err == ERR_OK) {
        err = next_event(read);
    }
    if (err == ERR_OK && read->event.type != YAML_STREAM_END_EVENT) {
        return refuse(read, "there is a second document");
    }
    return err;
}

enum err config_read_file(struct config *config, const char *path, struct err_note *note)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        enum err err = err_from_errno(errno);
        return err_note_set(note, err, "configuration file %s: %s", path, strerrordesc_np(errno));
    }
    int first = fgetc(file); /* a directory can be opened, but not read */
    if (first == EOF && ferror(file) != 0) {
        enum err err = err_from_errno(errno);
        (void)err_note_set(note, err, "configuration file %s: %s", path, strerrordesc_np(errno));
        (void)fclose(file);
        return err;
    }
    (void)ungetc(first, file);
    struct yaml_read read = {.config = config, .path = path, .note = note};
    enum err err = ERR_FULL;
    if (yaml_parser_initialize(&read.parser) != 0) {
        yaml_parser_set_input_file(&read.parser, file);
        err = read_stream(&read);
        drop_event(&read);
        yaml_parser_delete(&read.parser);
    }
    (void)fclose(file);
    return err;
}
