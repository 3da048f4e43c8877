/* The program that pods of the test bed run: waits for SIGTERM. No C library, so that the image has about 10 kB. */
static long call(long number, long a, long b, long c, long d) {
    long result;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    result = x0;
#endif
    return result;
}
#if defined(__x86_64__)
enum { SIGPROCMASK = 14, SIGTIMEDWAIT = 128, EXIT = 60 };
#else
enum { SIGPROCMASK = 135, SIGTIMEDWAIT = 137, EXIT = 93 };
#endif
void _start(void) {
    /* SIGINT (2) and SIGTERM (15), blocked so that PID 1 gets them without a handler. */
    unsigned long signals = 1UL << 1 | 1UL << 14;
    call(SIGPROCMASK, 0, (long)&signals, 0, 8);
    while (call(SIGTIMEDWAIT, (long)&signals, 0, 0, 8) < 0) {}
    call(EXIT, 0, 0, 0, 0);
    for (;;) {}
}
