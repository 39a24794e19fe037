/* Finding the process behind a listening port: the socket's inode from /proc/net/tcp, then the
 * process that has a descriptor of that inode. */
#include "ports/ports.h"

#include "text/text.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 512,
    PATH_BYTES = 320,
    STATE_LISTEN = 0x0a, /* TCP_LISTEN of the kernel */
    GONE_TRIES_MAX = 100,
    GONE_PAUSE_NS = 20 * 1000 * 1000
};

/* The inode of the listening socket in one of the kernel's tables; 0: none. */
static uint64_t inode_in(const char *table, uint16_t port)
{
    FILE *file = fopen(table, "re");
    if (file == NULL) {
        return 0;
    }
    uint64_t found = 0;
    char line[LINE_BYTES];
    while (found == 0 && fgets(line, sizeof(line), file) != NULL) {
        unsigned local = 0;
        unsigned state = 0;
        uint64_t inode = 0;
        /* sl local:port remote:port state queues timer retransmits uid timeout inode */
        int got = sscanf(line, "%*s %*[^:]:%x %*s %x %*s %*s %*s %*s %*s %" SCNu64, &local, &state,
                         &inode);
        if (got == 3 && local == port && state == STATE_LISTEN) {
            found = inode;
        }
    }
    (void)fclose(file);
    return found;
}

static bool has_socket(int pid, const char *link)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return false;
    }
    bool found = false;
    const struct dirent *entry = NULL;
    while (!found && (entry = readdir(dir)) != NULL) {
        char to[64];
        ssize_t len = readlinkat(dirfd(dir), entry->d_name, to, sizeof(to) - 1);
        if (len > 0) {
            to[len] = '\0';
            found = strcmp(to, link) == 0;
        }
    }
    (void)closedir(dir);
    return found;
}

static void read_name(int pid, char *dest, size_t size)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    dest[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    if (fgets(dest, (int)size, file) != NULL) {
        dest[strcspn(dest, "\n")] = '\0';
    }
    (void)fclose(file);
}

bool ports_find_holder(uint16_t port, struct ports_holder *ret_holder)
{
    uint64_t inode = inode_in("/proc/net/tcp", port);
    if (inode == 0) {
        inode = inode_in("/proc/net/tcp6", port);
    }
    DIR *dir = inode == 0 ? NULL : opendir("/proc");
    if (dir == NULL) {
        return false;
    }
    char link[64];
    (void)snprintf(link, sizeof(link), "socket:[%" PRIu64 "]", inode);
    bool found = false;
    const struct dirent *entry = NULL;
    while (!found && (entry = readdir(dir)) != NULL) {
        uint64_t pid = 0;
        if (text_parse_u64(bytes_of_str(entry->d_name), &pid) == ERR_OK &&
            has_socket((int)pid, link)) {
            found = true;
            ret_holder->pid = (int)pid;
            read_name((int)pid, ret_holder->name, sizeof(ret_holder->name));
        }
    }
    (void)closedir(dir);
    return found;
}

static enum err try_listen(const struct net_addr *addr, struct err_note *note)
{
    int fd = -1;
    enum err err = net_listen(addr, false, &fd, note);
    if (err == ERR_OK) {
        (void)close(fd);
    }
    return err;
}

enum err ports_probe(const struct net_addr *addr, struct err_note *note)
{
    unsigned port = net_addr_port(addr);
    struct ports_holder holder = {.pid = 0};
    enum err err = try_listen(addr, note);
    /* A killed process's ring lets go of its sockets only after the process is gone. */
    for (int i = 0; i < GONE_TRIES_MAX && err == ERR_IN_USE; i++) {
        if (ports_find_holder((uint16_t)port, &holder)) {
            break;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = GONE_PAUSE_NS}, NULL);
        err = try_listen(addr, note);
    }
    if (err != ERR_IN_USE) {
        return err;
    }
    if (holder.pid != 0) {
        return err_note_set(note, err,
                            "port %u is in use by process %d (%s): stop it, or choose "
                            "another port",
                            port, holder.pid, holder.name);
    }
    return err_note_set(note, err,
                        "port %u is in use by a process of another user: stop it, or "
                        "choose another port",
                        port);
}
