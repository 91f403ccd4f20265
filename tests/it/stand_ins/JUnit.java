// What docs/testing.md uses of JUnit, for machines without it: `java JUnit CLASS`.
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

public class JUnit {
    public static void main(String[] arguments) throws Exception {
        var type = Class.forName(arguments[0]);
        int ran = 0;
        int failed = 0;
        for (var test : type.getDeclaredMethods()) {
            if (!test.isAnnotationPresent(Test.class)) {
                continue;
            }
            ran++;
            try {
                var made = type.getDeclaredConstructor();
                made.setAccessible(true);
                var instance = made.newInstance();
                for (var before : type.getDeclaredMethods()) {
                    if (before.isAnnotationPresent(BeforeEach.class)) {
                        before.setAccessible(true);
                        before.invoke(instance);
                    }
                }
                test.setAccessible(true);
                test.invoke(instance);
            } catch (Exception error) {
                failed++;
                error.printStackTrace();
            }
        }
        System.out.println((ran - failed) + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
