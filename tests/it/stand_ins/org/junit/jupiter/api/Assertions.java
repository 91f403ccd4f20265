package org.junit.jupiter.api;

public class Assertions {
    public static void assertEquals(int wanted, int value) {
        assertTrue(wanted == value, "expected " + wanted + ", was " + value);
    }

    public static void assertTrue(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }
}
