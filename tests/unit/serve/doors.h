/* For tests of the HTTP doors: real nodes in this process, each with web, API and Consul door on a
 * port of its own, and a plain client.
 *
 * Client calls block with a deadline of 30 s; a missed one fails the test. */
#ifndef DOORS_H
#define DOORS_H

#include "api/api.h"
#include "consul/consul.h"
#include "health/health.h"
#include "members/members.h"
#include "node/node.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

enum {
    DOORS_NODES_MAX = 3
};

struct doors_node {
    struct node *node; /* NULL: stopped */
    struct web web;
    struct api api;
    struct consul consul;
    struct health *health;
    struct members *members;
    uint16_t peer_port;
    uint16_t port;
};

struct doors {
    char dir[64];
    uint32_t size;
    struct doors_node nodes[DOORS_NODES_MAX];
};

/* Starts size nodes and waits until every member is in the table. */
void doors_open(struct doors *doors, uint32_t size);
/* Stops what runs and removes the directory. */
void doors_close(struct doors *doors);
void doors_stop_node(struct doors *doors, uint32_t number);
/* The node that leads, waiting for one. */
uint32_t doors_leader(struct doors *doors);
/* Another running node than this one. */
uint32_t doors_other(const struct doors *doors, uint32_t number);

/* An answer; text is owned: reply_done. */
struct reply {
    int status;
    char *text; /* all bytes, zero-terminated */
    char *body; /* in text */
};

/* A request that is under way. */
struct asked {
    int fd;
};

/* path is sent as it is; body NULL: none. */
struct asked doors_ask(const struct doors *doors, uint32_t number, const char *method,
                       const char *path, const char *body);
struct reply doors_reply(struct asked *asked);
/* Whether the answer has begun to come within this time. */
bool doors_answers_within(const struct asked *asked, int ms);
/* Hangs up without waiting for the answer. */
void doors_hang_up(struct asked *asked);
/* Both in one. */
struct reply doors_call(const struct doors *doors, uint32_t number, const char *method,
                        const char *path, const char *body);
void reply_done(struct reply *reply);
/* The value of a header field as a number; 0 when it is not there. */
unsigned long long reply_index(const struct reply *reply);

/* request: "METHOD PATH" or "METHOD PATH BODY". Compares the status, and a part that the body must
 * have (NULL: any body; "": an empty one). */
void doors_expect(const struct doors *doors, uint32_t number, const char *request, int status,
                  const char *body);
/* Asks until the body has this part, 30 s at most. */
void doors_until(const struct doors *doors, uint32_t number, const char *path, const char *part);

#endif
