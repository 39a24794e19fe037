/* Why a request was refused or broken off: one table of codes, for bodies, headers, logs, metrics.
 *
 * Place: serve/gateway. Beside these codes stand those of proto/http1 (http1_reason_name): a
 * malformed request is refused with the parser's own code. docs/protocols/gateway.md lists both. */
#ifndef GATEWAY_GATEWAY_REASON_H
#define GATEWAY_GATEWAY_REASON_H

#include <stdint.h>

/* X(enum name, stable name, status to answer, sentence). Status 0: the answer had begun or nobody
 * is there to get one; the code is in the log and the metrics only. */
/* clang-format off */
#define GATEWAY_REASONS(X)                                                                         \
    X(NONE, "none", 0, "the request was not refused")                                              \
    X(MALFORMED, "malformed", 0, "the request is malformed; a code of the parser says how")        \
    X(NO_ROUTE, "no_route", 404, "no route matches this host and path")                            \
    X(NO_SERVICE, "no_service", 404, "no service of this name is registered")                      \
    X(NO_ENDPOINT, "no_endpoint", 503, "no instance of the service passes its checks")             \
    X(CONNECT_FAILED, "connect_failed", 502, "the instance does not accept connections")           \
    X(CONNECT_TIMEOUT, "connect_timeout", 504, "connecting to the instance took too long")         \
    X(UPSTREAM_CLOSED, "upstream_closed", 502,                                                     \
      "the instance closed the connection before it answered")                                     \
    X(UPSTREAM_BAD_RESPONSE, "upstream_bad_response", 502,                                         \
      "the instance's answer is not correct HTTP/1.1")                                             \
    X(RESPONSE_TIMEOUT, "response_timeout", 504, "the instance did not answer in time")            \
    X(OVERLOAD, "overload", 503, "the gateway is at one of its limits; try again later")           \
    X(HEADER_TIMEOUT, "header_timeout", 408, "the head of the request did not arrive in time")     \
    X(BODY_TIMEOUT, "body_timeout", 408, "the body of the request did not arrive in time")         \
    X(CONNECT_UNSUPPORTED, "connect_unsupported", 501, "the gateway does not open tunnels")        \
    X(UPGRADE_UNSUPPORTED, "upgrade_unsupported", 501,                                             \
      "the gateway does not switch protocols")                                                     \
    X(CLIENT_CLOSED, "client_closed", 0, "the client left before the answer was complete")         \
    X(CLIENT_STALLED, "client_stalled", 0, "the client did not take the answer in time")           \
    X(UPSTREAM_BROKEN, "upstream_broken", 0, "the instance broke off inside its answer")           \
    X(UPSTREAM_STALLED, "upstream_stalled", 0, "the instance stopped inside its answer")           \
    X(STOPPED, "stopped", 0, "the gateway stopped before the answer was complete")

/* clang-format on */

enum gateway_reason {
#define X(name, text, status, sentence) GATEWAY_REASON_##name,
    GATEWAY_REASONS(X)
#undef X
    GATEWAY_REASON_COUNT
};

/* The stable snake_case name; borrowed for ever. */
const char *gateway_reason_name(enum gateway_reason reason);
/* A sentence for people; borrowed for ever. */
const char *gateway_reason_text(enum gateway_reason reason);
/* The status to answer; 0: none. */
uint16_t gateway_reason_status(enum gateway_reason reason);

#endif
