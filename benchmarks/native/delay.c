/* Simulate a long cable: pass packets between two TUN devices, each after a fixed delay, in order, without loss.
 *
 *     delay NETNS1 DEVICE1 NETNS2 DEVICE2 MICROSECONDS
 *
 * NETNS is a path (/run/netns/NAME). The program creates both devices, each in its namespace, prints "ready", and ends
 * when its stdin closes, which removes the devices. For each line on stdin it prints the counts since the previous line
 * as JSON. They prove that it was not the bottleneck: `late_us` is how long after its instant a packet left, `full`
 * how often a packet had to wait in the device because the cable was full, `failed` how many the kernel refused.
 *
 * The delay begins when the packet is read, that is, when it leaves the queue of the device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* 8192 packets: at 75 ms one way that is 1.3 Gbit/s of full ones. */
enum { SLOTS = 8192, PACKET = 2048, BATCH = 64 };

struct direction {
    int from, to;
    uint64_t first, next; /* the oldest packet on its way; the next free slot. Both only count up. */
    uint64_t due[SLOTS];
    uint16_t size[SLOTS];
    unsigned char (*packets)[PACKET];
    uint64_t count, bytes, late_sum, late_max, full, failed;
};

static struct direction directions[2];
static uint64_t delay;

static void die(const char *what)
{
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_device(const char *namespace, const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int where = open(namespace, O_RDONLY | O_CLOEXEC);
    if (where < 0 || setns(where, CLONE_NEWNET) < 0)
        die(namespace);
    close(where);
    /* A device belongs to the namespace that its descriptor was opened in. */
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0)
        die("/dev/net/tun");
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (ioctl(device, TUNSETIFF, &request) < 0)
        die(name);
    return device;
}

static void take(struct direction *way)
{
    for (int taken = 0; taken < BATCH; taken++) {
        if (way->next - way->first == SLOTS) {
            way->full++;
            return;
        }
        uint64_t slot = way->next % SLOTS;
        ssize_t size = read(way->from, way->packets[slot], PACKET);
        if (size < 0) {
            if (errno == EAGAIN || errno == EINTR)
                return;
            die("read");
        }
        way->size[slot] = (uint16_t)size;
        way->due[slot] = now_ns() + delay;
        way->next++;
    }
}

static void give(struct direction *way)
{
    uint64_t now = now_ns();
    while (way->first != way->next && way->due[way->first % SLOTS] <= now) {
        uint64_t slot = way->first++ % SLOTS;
        uint64_t late = now - way->due[slot];
        if (write(way->to, way->packets[slot], way->size[slot]) != way->size[slot])
            way->failed++;
        way->count++;
        way->bytes += way->size[slot];
        way->late_sum += late;
        if (late > way->late_max)
            way->late_max = late;
        now = now_ns();
    }
}

static void tell(void)
{
    printf("[");
    for (int i = 0; i < 2; i++) {
        struct direction *way = &directions[i];
        double mean = way->count ? (double)way->late_sum / (double)way->count : 0;
        printf("%s{\"packets\": %llu, \"bytes\": %llu, \"late_us_mean\": %.1f, \"late_us_max\": %.1f, \"full\": %llu, "
               "\"failed\": %llu}", i ? ", " : "", (unsigned long long)way->count, (unsigned long long)way->bytes,
               mean / 1e3, (double)way->late_max / 1e3, (unsigned long long)way->full,
               (unsigned long long)way->failed);
        way->count = way->bytes = way->late_sum = way->late_max = way->full = way->failed = 0;
    }
    printf("]\n");
}

static void run(void)
{
    for (;;) {
        struct pollfd waiting[3] = {{.fd = STDIN_FILENO, .events = POLLIN}};
        uint64_t wake = UINT64_MAX;
        for (int i = 0; i < 2; i++) {
            struct direction *way = &directions[i];
            int full = way->next - way->first == SLOTS;
            waiting[i + 1] = (struct pollfd){.fd = way->from, .events = full ? 0 : POLLIN};
            if (way->first != way->next && way->due[way->first % SLOTS] < wake)
                wake = way->due[way->first % SLOTS];
        }
        uint64_t now = now_ns(), left = wake > now ? wake - now : 0;
        struct timespec rest = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        if (ppoll(waiting, 3, wake == UINT64_MAX ? NULL : &rest, NULL) < 0 && errno != EINTR)
            die("ppoll");
        if (waiting[0].revents) {
            char asked[64];
            if (read(STDIN_FILENO, asked, sizeof asked) <= 0)
                return;
            tell();
        }
        for (int i = 0; i < 2; i++) {
            give(&directions[i]);
            if (waiting[i + 1].revents)
                take(&directions[i]);
        }
    }
}

int main(int count, char **words)
{
    if (count != 6) {
        fprintf(stderr, "usage: delay NETNS1 DEVICE1 NETNS2 DEVICE2 MICROSECONDS\n");
        return 2;
    }
    delay = strtoull(words[5], NULL, 10) * 1000u;
    int devices[2] = {open_device(words[1], words[2]), open_device(words[3], words[4])};
    for (int i = 0; i < 2; i++) {
        directions[i].from = devices[i];
        directions[i].to = devices[1 - i];
        directions[i].packets = calloc(SLOTS, PACKET);
        if (!directions[i].packets)
            die("memory");
    }
    /* By default the kernel may wake a sleeper 50 us late, which is most of a packet's time at 200 Mbit/s. */
    prctl(PR_SET_TIMERSLACK, 1uL);
    /* With a higher real-time priority than the two ends (`wan/ends.py`: 1), it never waits for a core. Where that is
     * not permitted, `late_us` shows the delay. */
    sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 2});
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n");
    run();
    return 0;
}
