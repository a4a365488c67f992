package autotinybert

/**
 * Why a bundle gives no answer.
 *
 * @property help what to do about it, where something is known.
 */
public sealed class AutotinybertException(message: String, public val help: String?) :
    Exception(message)

/** The bundle is missing, damaged, of a newer version, or none. */
public class BundleException internal constructor(message: String, help: String?) :
    AutotinybertException(message, help)

/** The model does not give what it was asked for; see [Model.tasks]. */
public class TaskException internal constructor(message: String, help: String?) :
    AutotinybertException(message, help)

/** An argument is of no use, or the model was closed. */
public class ArgumentException internal constructor(message: String, help: String?) :
    AutotinybertException(message, help)

/** The model failed to run, or could not be measured. */
public class RunException internal constructor(message: String, help: String?) :
    AutotinybertException(message, help)
