/* Clock types. Reading a clock is a system matter (io/loop); everybody else is told the time.
 *
 * Place: base. clk_ns: monotonic nanoseconds, for deadlines and durations, never shown or stored.
 * clk_ms: milliseconds since 1970-01-01 UTC, for people and for records. */
#ifndef CLK_CLK_H
#define CLK_CLK_H

#include <stdint.h>

typedef uint64_t clk_ns;
typedef uint64_t clk_ms;

#define CLK_NEVER  UINT64_MAX
#define CLK_US(us) ((clk_ns)(us)*1000u)
#define CLK_MS(ms) ((clk_ns)(ms)*1000000u)
#define CLK_S(s)   ((clk_ns)(s)*1000000000u)

#endif
